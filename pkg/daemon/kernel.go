package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/firewall"
)

// kernel is the real firewall as jails see it.
type kernel struct{ d *Daemon }

// kernelMost is how long the kernel's queue is waited for. What is pushed later than that
// comes later, which does no harm but to the order.
const kernelMost = 5 * time.Second

// settle waits until what was pushed before is in the kernel.
func (k *kernel) settle() {
	ctx, cancel := context.WithTimeout(context.Background(), kernelMost)
	defer cancel()
	_ = k.d.queue.Sync(ctx)
}

func (k *kernel) AddJail(r firewall.Rule) error {
	k.settle() // what was pushed before comes first
	report, err := k.d.fw.AddJail(r)
	k.d.settled(report)
	return err
}

func (k *kernel) Elements(name string) ([]firewall.Element, error) {
	k.settle()
	return k.d.fw.Elements(name)
}

func (k *kernel) RemoveJail(name string) error {
	k.settle()
	report, err := k.d.fw.RemoveJail(name)
	k.d.settled(report)
	if err != nil {
		k.d.mender.poke() // it is kept in mind, and tried again
	}
	return err
}

func (k *kernel) Lift(name string, id netip.Prefix) (bool, error) {
	k.settle()
	return k.d.fw.Lift(name, id)
}

func (k *kernel) Push(c ...firewall.Change) { k.d.queue.Push(c...) }

// Under waits for a while until fewer changes of a jail wait than so many.
func (k *kernel) Under(jail string, most int, while time.Duration) {
	k.d.queue.Under(jail, most, while)
}

// In a dry run, logs are read and bans kept in memory, and what would be done with them is
// told: nothing goes to the kernel, to the database or into an export, and no action and
// no reload is run. ignorecommand is run: it is a question.

// wouldDo tells what is left undone in a dry run.
func (d *Daemon) wouldDo(format string, args ...any) {
	d.log.With("component", "actions").Log(context.Background(), eventlog.LevelNotice, "dry run: would "+fmt.Sprintf(format, args...))
}

// dry is the firewall of --dry-run.
type dry struct{ log *slog.Logger }

func (d *dry) AddJail(firewall.Rule) error                 { return nil }
func (d *dry) Elements(string) ([]firewall.Element, error) { return nil, nil }
func (d *dry) RemoveJail(string) error                     { return nil }
func (d *dry) Lift(string, netip.Prefix) (bool, error)     { return false, nil }

func (d *dry) Push(changes ...firewall.Change) {
	for _, c := range changes {
		if c.Clear {
			d.log.With("component", "actions").Log(context.Background(), eventlog.LevelNotice, fmt.Sprintf("[%s] dry run: would empty the kernel's sets", c.Jail))
			continue
		}
		what := "add to"
		if c.Remove {
			what = "remove from"
		}
		d.log.With("component", "actions").Log(context.Background(), eventlog.LevelNotice,
			fmt.Sprintf("[%s] dry run: would %s the kernel's sets: %s", c.Jail, what, ban.Name(ban.Of(c.ID))))
	}
}

// refused is told of changes that the kernel did not take.
func (d *Daemon) refused(_ []firewall.Change, err error) {
	log := d.log.With("component", "actions")
	for _, line := range strings.Split(err.Error(), "\n") {
		log.Error(line)
	}
	d.mender.poke() // they are owed, and tried again
}

// cutOff closes connections that banned addresses still have open. The bans are
// in force already, so this may take its time.
func (d *Daemon) cutOff(banned map[string][]netip.Prefix) {
	d.cutting.Lock()
	defer d.cutting.Unlock()
	if d.toCut != nil { // to list connections is not for each transaction
		for name, ids := range banned {
			d.toCut[name] = append(d.toCut[name], ids...)
		}
		return
	}
	d.toCut = banned
	go func() {
		for {
			d.cutting.Lock()
			banned := d.toCut
			if len(banned) == 0 {
				d.toCut = nil
				d.cutting.Unlock()
				return
			}
			d.toCut = map[string][]netip.Prefix{}
			d.cutting.Unlock()
			began := time.Now()
			d.cut(banned)
			time.Sleep(min(cutRest*time.Since(began), cutRestMost)) // to list all connections takes milliseconds
		}
	}()
}

// To look for connections takes a tenth of the time, where bans come one after the other;
// who is banned meanwhile has his closed cutRestMost later at the most.
const (
	cutRest     = 9
	cutRestMost = 200 * time.Millisecond
)

// cut closes the connections of some.
func (d *Daemon) cut(banned map[string][]netip.Prefix) {
	for name, ids := range banned {
		var rule firewall.Rule
		if j := d.jailsNow()[name]; j != nil {
			rule = j.Configured.Rule
		} else if s := d.fleet.set(name); s != nil {
			rule = s.rule
		} else {
			continue
		}
		n, passed, err := firewall.CutOff(rule, ids)
		log := d.log.With("component", "actions")
		if err != nil {
			log.Debug(fmt.Sprintf("[%s] open connections: %v", name, err))
		}
		if n > 0 {
			log.Info(fmt.Sprintf("[%s] closed %d open connections of banned addresses", name, n))
		}
		if passed > 0 {
			log.Info(fmt.Sprintf("[%s] ended %d connections of banned addresses that were passed on", name, passed))
		}
	}
}

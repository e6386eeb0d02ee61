package jail

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/pkg/firewall"
	"bailiff/pkg/netlab"
)

// realSets are those of the kernel's nftables, in a network of their own. The world's
// clock runs at a pace of its own: before anything else is done, what it went on by is
// taken off what elements have left, and what really passed is given back. So that none
// ends by itself meanwhile, they last longer there by pad.
type realSets struct {
	host *netlab.Host
	fw   *firewall.Firewall
	at   time.Duration // up to when, by the world's timers, that was done
	real time.Time     // and when it was
}

const pad = time.Hour

// do brings the elements up to a moment, and does something then.
func (s *realSets) do(now time.Duration, f func() error) error {
	return s.host.Do(func() error {
		list, err := s.fw.Elements("app")
		if err != nil {
			return err
		}
		var changes []firewall.Change
		for _, e := range list {
			c := firewall.Change{Jail: "app", ID: e.ID, Left: e.Left + time.Since(s.real) - (now - s.at), Replace: true}
			if c.Left <= pad {
				c = firewall.Change{Jail: "app", ID: e.ID, Remove: true}
			}
			changes = append(changes, c)
		}
		if now != s.at && len(changes) > 0 {
			if err := s.fw.Apply(changes); err != nil {
				return err
			}
			s.at, s.real = now, time.Now()
		} else if len(changes) == 0 {
			s.at, s.real = now, time.Now()
		}
		return f()
	})
}

func (s *realSets) change(now time.Duration, changes ...firewall.Change) error {
	return s.do(now, func() error {
		padded := make([]firewall.Change, len(changes))
		for i, c := range changes {
			if padded[i] = c; c.Left > 0 {
				padded[i].Left += pad - time.Since(s.real) // it is taken for one of then
			}
		}
		return s.fw.Apply(padded)
	})
}

func (s *realSets) list(now time.Duration) (out []firewall.Element, err error) {
	err = s.do(now, func() error {
		out, err = s.fw.Elements("app")
		for i := range out {
			out[i].Left += time.Since(s.real) - pad
		}
		return err
	})
	return out, err
}

func (s *realSets) lift(now time.Duration, id netip.Prefix) (was bool, err error) {
	err = s.do(now, func() error {
		was, err = s.fw.Lift("app", id)
		return err
	})
	return was, err
}

func (s *realSets) add(rule firewall.Rule) error {
	return s.host.Do(func() error {
		_, err := s.fw.AddJail(rule)
		return err
	})
}

func (s *realSets) remove(jail string) error {
	return s.host.Do(func() error {
		_, err := s.fw.RemoveJail(jail)
		return err
	})
}

// nft is run by another hand.
func (s *realSets) nft(args ...string) (string, error) {
	out, err := s.host.Command(context.Background(), "nft", args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("nft %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func setOf(id netip.Prefix) string {
	if id.Addr().Is4() {
		return "addr-set-app"
	}
	return "addr6-set-app"
}

func (s *realSets) drop(id netip.Prefix) error {
	out, err := s.nft("delete", "element", "inet", "f2b-table", setOf(id), "{", id.Addr().String(), "}")
	if strings.Contains(out, "No such file") { // it isn't in there
		err = nil
	}
	return err
}

func (s *realSets) flush() error {
	_, err := s.nft("flush", "set", "inet", "f2b-table", "addr-set-app")
	_, also := s.nft("flush", "set", "inet", "f2b-table", "addr6-set-app")
	return errors.Join(err, also)
}

func (s *realSets) open() error {
	return s.host.Do(func() (err error) {
		if s.fw != nil {
			s.fw.Close()
		}
		if s.fw, _, err = firewall.Open(firewall.Options{Waiting: []string{"app"}}); err == nil && s.real.IsZero() {
			s.real = time.Now()
		}
		return err
	})
}

// close looks whether sets are left when the jail is gone.
func (s *realSets) close() error {
	if s.fw == nil {
		return nil
	}
	err := s.remove("app")
	s.fw.Close()
	s.fw = nil
	left, also := s.nft("list", "ruleset")
	if strings.Contains(left, "-set-app") {
		also = fmt.Errorf("left are sets or rules of the jail:\n%s", left)
	}
	return errors.Join(err, also)
}

// TestHistoriesKernel plays some of them on the kernel's own nftables: a tenth of those
// of TestHistories.
func TestHistoriesKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root (make test says how)")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Fatal("this test needs the package nftables: make packages")
	}
	lab := netlab.New(fmt.Sprintf("bailiff-histories-%d", os.Getpid()))
	defer func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	}()
	seed := *historySeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	most := uint64(max(*histories/10, 1))
	var next, steps atomic.Uint64
	begun, dir := time.Now(), t.TempDir()
	patient.Store(true)
	var wg sync.WaitGroup
	for i := range 4 {
		host, err := lab.Host(fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for {
				n := next.Add(1) - 1
				if n >= most || *historyTime > 0 && time.Since(begun) > *historyTime || t.Failed() {
					return
				}
				h := randomHistory(seed, n)
				sets := &realSets{host: host}
				if err := errors.Join(playHistoryOn(dir, h, sets), sets.close()); err != nil {
					t.Errorf("history %d of seed %d: %v\nhistory:\n%s", n, seed, err, textOf(h))
				}
				steps.Add(uint64(len(h)))
			}
		})
	}
	wg.Wait()
	t.Logf("seed %d: %d histories of %d steps in all on the kernel's nftables", seed, min(next.Load(), most), steps.Load())
}

package migrate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"bailiff/pkg/action"
	"bailiff/pkg/config"
	"bailiff/pkg/firewall"
	"bailiff/pkg/iplist"
)

// What the kernel holds of jails: in nftables' sets, in chains of iptables, in sets of
// ipset's. fail2ban's actions and ours name them alike.

// where is what one place holds.
type where map[netip.Prefix]bool

// inKernel is what the places of all jails hold, by their names: addr-set-NAME of
// nftables, f2b-NAME of the others.
type inKernel struct {
	sets   map[string]where // by NAME
	chains map[string]where // and ipset's sets, by f2b-NAME
}

// look reads tables of the kernel's nftables, and what the programs hold that jails use.
func look(ctx context.Context, tables []string, jails []*config.Jail) (inKernel, error) {
	ctx, cancel := context.WithTimeout(ctx, askMost)
	defer cancel()
	k := inKernel{sets: map[string]where{}, chains: map[string]where{}}
	for _, table := range tables {
		all, err := firewall.Held(table)
		if err != nil {
			return k, err
		}
		for name, elements := range all {
			if k.sets[name] == nil {
				k.sets[name] = where{}
			}
			for _, e := range elements {
				k.sets[name][e.ID] = true
			}
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	for _, program := range []struct {
		args []string
		take func([]byte, map[string]where)
	}{
		{[]string{"iptables-save", "-t", "filter"}, takeRules},
		{[]string{"ip6tables-save", "-t", "filter"}, takeRules},
		{[]string{"ipset", "save"}, takeSets},
	} {
		wg.Go(func() {
			if !use(jails, strings.TrimPrefix(strings.TrimSuffix(program.args[0], "-save"), "ip6")) {
				return
			}
			if _, err := exec.LookPath(program.args[0]); err != nil {
				return // then nobody has made anything with it
			}
			c := command(ctx, program.args[0], program.args[1:]...)
			var out, said bytes.Buffer
			c.Stdout, c.Stderr = &out, &said
			err := c.Run()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w: %s", strings.Join(program.args, " "), err, strings.TrimSpace(said.String())))
				return
			}
			program.take(out.Bytes(), k.chains)
		})
	}
	wg.Wait()
	return k, errors.Join(errs...)
}

// use reports whether commands of jails name a program.
func use(jails []*config.Jail, program string) bool {
	in := func(d *action.Definition) bool {
		if d.Properties == nil {
			return false
		}
		for name, text := range d.Properties.Values {
			if strings.HasPrefix(name, "action") && strings.Contains(text, program) {
				return true
			}
		}
		return false
	}
	for _, j := range jails {
		for i := range j.Actions {
			if in(&j.Actions[i]) {
				return true
			}
		}
		if slices.ContainsFunc(j.Native, in) {
			return true
		}
	}
	return false
}

// takeRules reads what iptables-save tells: -A f2b-sshd -s 192.0.2.7/32 -j REJECT …
func takeRules(text []byte, into map[string]where) {
	in := bufio.NewScanner(bytes.NewReader(text))
	for in.Scan() {
		words := strings.Fields(in.Text())
		if len(words) < 6 || words[0] != "-A" || words[2] != "-s" || words[4] != "-j" || words[5] == "RETURN" || words[5] == "ACCEPT" {
			continue
		}
		put(into, words[1], words[3])
	}
}

// takeSets reads what ipset save tells: add f2b-sshd 192.0.2.7 timeout 3599
func takeSets(text []byte, into map[string]where) {
	in := bufio.NewScanner(bytes.NewReader(text))
	for in.Scan() {
		if words := strings.Fields(in.Text()); len(words) >= 3 && words[0] == "add" {
			put(into, words[1], words[2])
		}
	}
}

func put(into map[string]where, name, who string) {
	p, err := iplist.Parse(who)
	if err != nil {
		return
	}
	if into[name] == nil {
		into[name] = where{}
	}
	into[name][p] = true
}

// of is what the kernel holds under some names.
func (k inKernel) of(names []string) where {
	out := where{}
	for _, name := range names {
		for p := range k.sets[name] {
			out[p] = true
		}
		for _, chain := range []string{"f2b-" + name, "f2b-" + name + "6", "fail2ban-" + name} {
			for p := range k.chains[chain] {
				out[p] = true
			}
		}
	}
	return out
}

// namesOf are the names under which a jail's actions have its bans.
func namesOf(j *config.Jail) []string {
	names := []string{j.Name}
	for _, d := range j.Native {
		if name, ok := d.Properties.Get("name"); ok && name != "" {
			names = append(names, name)
		}
	}
	for _, d := range j.Actions {
		if d.Properties == nil {
			continue
		}
		if name, ok := d.Properties.Get("name"); ok && name != "" {
			names = append(names, name)
		}
	}
	return names
}

// networks are those that are in a place.
func (w where) networks() where {
	out := where{}
	for p := range w {
		if !p.IsSingleIP() {
			out[p] = true
		}
	}
	return out
}

// holds reports whether one of the networks holds all of an address or network.
func (w where) holds(p netip.Prefix) bool {
	for q := range w {
		if q.Bits() < p.Bits() && q.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// without are the bans of jails that the kernel does not hold, as far as it can hold them.
// names are those under which jails have them.
func (k inKernel) without(bans held, names map[string][]string) held {
	out := held{}
	for jail, of := range bans {
		there := k.of(names[jail])
		networks := there.networks()
		for _, b := range of {
			if e := element(b); e.IsValid() && !there[e] && !networks.holds(e) {
				out.add(jail, b)
			}
		}
	}
	return out
}

// strays are what the kernel holds of jails beside their bans.
func (k inKernel) strays(bans held, names map[string][]string) map[string][]netip.Prefix {
	out := map[string][]netip.Prefix{}
	for jail, under := range names {
		have := where{}
		for _, b := range bans[jail] {
			if e := element(b); e.IsValid() {
				have[e] = true
			}
		}
		networks := have.networks()
		for p := range k.of(under) {
			if !have[p] && !networks.holds(p) {
				out[jail] = append(out[jail], p)
			}
		}
	}
	return out
}

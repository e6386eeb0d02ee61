package config

import (
	"slices"

	"bailiff/pkg/firewall"
)

// IPTables is what an action of iptables has in the kernel, for those who look.
type IPTables struct {
	Action   string
	Programs []string // that command it: iptables, ip6tables, ipset
	Target   string   // the chain, or the set, of its own
	Set      bool     // Target is a set of ipset's
	Chains   []string // of the host's, that lead to it: INPUT
	Only4    bool     // it takes no addresses of IPv6
	Ports    []firewall.PortRange
}

// IPTables are a jail's actions of that kind, as far as they are fail2ban's own.
func (j *Jail) IPTables() (out []IPTables) {
	for i := range j.Actions {
		d := &j.Actions[i]
		all, err := d.Resolve("inet4")
		if err != nil {
			continue
		}
		var f iptFamily
		known, only4 := f.read(all.Values, false)
		if !known {
			continue
		}
		one := IPTables{Action: d.Name, Programs: slices.Clone(f.programs), Target: f.target, Set: f.set, Chains: f.chains, Only4: only4}
		if f.ports != "" {
			one.Ports, _ = ParsePorts([]string{f.ports})
		}
		if all, err = d.Resolve("inet6"); err == nil {
			var six iptFamily
			known, only4 := six.read(all.Values, true)
			one.Only4 = only4 || !known
			for _, p := range six.programs {
				if !slices.Contains(one.Programs, p) {
					one.Programs = append(one.Programs, p)
				}
			}
		}
		out = append(out, one)
	}
	return out
}

package doctor

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"bailiff/pkg/config"
	"bailiff/pkg/firewall"
)

// What listens on this host, and whether the jails' ports are those.

// listener is a TCP port that somebody listens at.
type listener struct {
	port     uint16
	loopback bool
	program  string // empty: it isn't known
}

// listenersMost is how many sockets are looked at.
const listenersMost = 10_000

// listeners are those of this network namespace.
func listeners(ctx context.Context) (out []listener) {
	byInode := map[string]int{}
	for _, path := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		in := bufio.NewScanner(io.LimitReader(f, rulesMost))
		for in.Scan() && len(out) < listenersMost {
			w := strings.Fields(in.Text())
			if len(w) < 10 || w[3] != "0A" {
				continue
			}
			at, port, ok := strings.Cut(w[1], ":")
			n, err := strconv.ParseUint(port, 16, 16)
			raw, err2 := hex.DecodeString(at)
			if !ok || err != nil || err2 != nil {
				continue
			}
			one := listener{port: uint16(n)}
			switch len(raw) { // words in this host's order
			case 4:
				one.loopback = raw[3] == 127
			case 16:
				one.loopback = at == "00000000000000000000000001000000" || strings.HasPrefix(at, "0000000000000000FFFF0000") && strings.HasSuffix(at, "7F")
			}
			byInode[w[9]] = len(out)
			out = append(out, one)
		}
		f.Close()
	}
	if len(out) == 0 {
		return nil
	}
	entries, _ := os.ReadDir("/proc")
	links := 0
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || ctx.Err() != nil || links > linksMost {
			continue
		}
		fds, _ := os.ReadDir("/proc/" + e.Name() + "/fd")
		links += len(fds)
		for _, fd := range fds {
			to, err := os.Readlink("/proc/" + e.Name() + "/fd/" + fd.Name())
			inode, ok := strings.CutPrefix(to, "socket:[")
			if err != nil || !ok {
				continue
			}
			if i, ok := byInode[strings.TrimSuffix(inode, "]")]; ok && out[i].program == "" {
				out[i].program, _, _ = strings.Cut(called(pid), " (pid")
			}
		}
	}
	return out
}

// ports compares the jails' ports with what listens.
func (d *doctor) ports(ctx context.Context, b *bans) {
	var all []listener
	looked := false
	for _, j := range b.jails {
		ports := j.Rule.Ports
		for _, a := range j.IPTables() {
			ports = append(slices.Clone(ports), a.Ports...)
		}
		if len(ports) == 0 || len(j.Rule.Protocols) > 0 && !slices.Contains(j.Rule.Protocols, "tcp") || j.List != nil {
			continue
		}
		if !looked {
			looked, all = true, listeners(ctx)
		}
		d.portsOf(b, j, ports, all)
	}
}

// portsOf tells of one jail whose ports are not those of its service.
func (d *doctor) portsOf(b *bans, j *config.Jail, ports []firewall.PortRange, all []listener) {
	covered := func(p uint16) bool {
		return slices.ContainsFunc(ports, func(r firewall.PortRange) bool { return r.First <= p && p <= r.Last })
	}
	var seen, open []string
	var ours []uint16 // of the service that the jail is for, which the jail doesn't shut
	hit, named := false, ""
	for _, l := range all {
		text := fmt.Sprintf("port %d", l.port)
		if l.program != "" {
			text += " (" + l.program + ")"
		}
		if covered(l.port) {
			hit = true
			continue
		}
		if l.loopback {
			continue
		}
		if !slices.Contains(open, text) {
			open = append(open, text)
		}
		if serves(j, l.program) && !slices.Contains(ours, l.port) {
			ours, named = append(ours, l.port), l.program
		}
	}
	if at := setting(j, "port"); at != "" {
		seen = append(seen, at+": port")
	}
	set := func(port string) string {
		if d.cfg.Fail2ban != nil {
			return fmt.Sprintf("in [%s] of %s/jail.local set\nport = %s", j.Name, d.cfg.Fail2ban.Dir, port)
		}
		return fmt.Sprintf("in [jail.%s] of bailiff.toml set\nport = %q", j.Name, port)
	}
	const most = 10
	listed := strings.Join(open[:min(len(open), most)], ", ")
	switch {
	case len(ours) > 0:
		b.say(Finding{
			Jail: j.Name, Symptom: "ban-ports", Level: Broken, Cause: fmt.Sprintf("%s listens at port %d, and the jail shuts port %s only", named, ours[0], portList(ports)),
			Seen: append(seen, "ss -ltn: "+listed), Remedy: set(portList(append(slices.Clone(ports), firewall.PortRange{First: ours[0], Last: ours[0]}))),
		})
	case !hit && len(open) > 0 && !d.published(ports):
		b.say(Finding{
			Jail: j.Name, Symptom: "ban-ports", Level: Doubtful, Cause: fmt.Sprintf("nothing listens at the ports that the jail shuts, %s", portList(ports)),
			Seen: append(seen, "ss -ltn: "+listed), Remedy: "name the service's ports: " + set("PORT"),
		})
	}
}

// published reports whether one of some ports is passed on to others.
func (d *doctor) published(ports []firewall.PortRange) bool {
	all, err := firewall.PublishedPorts()
	if err != nil {
		return true // nobody knows
	}
	for _, p := range all {
		if p.Any {
			return true
		}
		for _, text := range p.Ports {
			if overlaps(strings.ReplaceAll(text, "-", ":"), ports) {
				return true
			}
		}
	}
	return false
}

// serves reports whether a program is the one that a jail is for, by its name.
func serves(j *config.Jail, program string) bool {
	program = strings.ToLower(program)
	if len(program) < 4 {
		return false
	}
	for _, name := range []string{j.Filter.Name, j.Name} {
		name, _, _ = strings.Cut(strings.ToLower(name), "-")
		if len(name) >= 4 && (strings.HasPrefix(program, name) || strings.HasPrefix(name, program)) {
			return true
		}
	}
	return false
}

// portList writes ports as they are configured.
func portList(ports []firewall.PortRange) string {
	var out []string
	for _, p := range ports {
		text := fmt.Sprint(p.First)
		if p.Last > p.First {
			text += fmt.Sprintf("-%d", p.Last)
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return strings.Join(out, ",")
}

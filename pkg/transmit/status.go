package transmit

import (
	"path/filepath"
	"slices"
	"strings"

	"bailiff/pkg/ban"
	"bailiff/pkg/control"
	"bailiff/pkg/jail"
)

// What status and banned answer.

func (t *Transmitter) fail2banStatus(c *command) (any, error) {
	server := func() control.List {
		var names []string
		for _, j := range t.d.Running() {
			names = append(names, j.Configured.Name)
		}
		return control.List{control.Tuple{"Number of jail", len(names)}, control.Tuple{"Jail list", strings.Join(names, ", ")}}
	}
	if len(c.words) == 1 {
		return server(), nil
	}
	flavour := "basic"
	if len(c.words) > 2 {
		flavour = c.word(2)
	}
	if c.word(1) == "--all" {
		out := control.Dict{Values: map[string]any{}}
		for _, j := range t.d.Running() {
			v, err := jailStatus(j, flavour)
			if err != nil {
				return nil, err
			}
			out.Keys = append(out.Keys, j.Configured.Name)
			out.Values[j.Configured.Name] = v
		}
		if flavour == "stats" {
			return out, nil
		}
		return append(server(), out), nil
	}
	if len(c.words) > 3 {
		return nil, pyError("Exception", "Invalid command (no status)")
	}
	j, err := t.known(c.word(1))
	if err != nil {
		return nil, err
	}
	return jailStatus(j, flavour)
}

func jailStatus(j *jail.Jail, flavour string) (any, error) {
	s := j.Status(true)
	if flavour == "stats" {
		backend := "auto"
		if j.Configured.Journal != nil {
			backend = "systemd"
		} else if j.Configured.Containers != nil {
			backend = "docker"
		} else if j.Configured.Polling {
			backend = "polling"
		}
		return control.List{backend, control.Tuple{s.Failed, s.TotalFailed}, control.Tuple{s.Banned, s.TotalBanned}}, nil
	}
	ids := control.List{}
	for _, b := range byEnd(s.Bans) {
		ids = append(ids, b.IP)
	}
	found := control.List{control.Tuple{"Currently failed", s.Failed}, control.Tuple{"Total failed", s.TotalFailed}}
	banned := control.List{control.Tuple{"Currently banned", s.Banned}, control.Tuple{"Total banned", s.TotalBanned}}
	if journal := j.Configured.Journal; journal != nil {
		var all []string
		for _, m := range journal.Matches {
			all = append(all, strings.Join(m, " "))
		}
		found = append(found, control.Tuple{"Journal matches", control.List{strings.Join(all, " + ")}})
	} else if j.Configured.Syslog != nil {
		var at []string
		for _, f := range s.Files {
			at = append(at, f.Path)
		}
		found = append(found, control.Tuple{"File list", stringsList(at)})
	} else {
		found = append(found, control.Tuple{"File list", logPaths(j, s)})
	}
	if flavour != "short" {
		banned = append(banned, control.Tuple{"Banned IP list", ids})
	}
	if flavour == "cymru" {
		banned = append(banned, cymru(s.Bans)...)
	}
	return control.List{control.Tuple{"Filter", found}, control.Tuple{"Actions", banned}}, nil
}

// logPaths are the logs that are there, in the order in which they are configured.
func logPaths(j *jail.Jail, s jail.Status) control.List {
	out := control.List{}
	if !j.Begun() {
		return stringsList(j.Settings().LogPath)
	}
	if j.Configured.Containers != nil {
		for _, f := range s.Files {
			if f.Error == "" {
				out = append(out, f.Path)
			}
		}
		return out
	}
	for _, glob := range j.Settings().LogPath {
		for _, f := range s.Files {
			if ok, _ := filepath.Match(glob, f.Path); (ok || f.Path == filepath.Clean(glob)) && f.Error == "" && !slices.Contains(out, any(f.Path)) {
				out = append(out, f.Path)
			}
		}
	}
	return out
}

// byEnd sorts bans by their end, those for ever last.
func byEnd(bans []jail.BanStatus) []jail.BanStatus {
	out := slices.Clone(bans)
	slices.SortStableFunc(out, func(a, b jail.BanStatus) int {
		switch {
		case a.End == nil && b.End == nil:
			return 0
		case a.End == nil:
			return 1
		case b.End == nil:
			return -1
		}
		return a.End.Compare(*b.End)
	})
	return out
}

// banned answers `banned` and `get JAIL banned`.
func (t *Transmitter) banned(name string, ids []string) (any, error) {
	jails := t.d.InOrder()
	if name != "" {
		j, err := t.known(name)
		if err != nil {
			return nil, err
		}
		jails = []*jail.Jail{j}
	}
	bans, err := jail.BansOf(jails)
	if err != nil {
		return nil, err
	}
	has := func(i int, ip string) bool {
		if id, err := ban.ParseID(ip); err == nil {
			ip = ban.Name(id)
		}
		return slices.ContainsFunc(bans[i], func(b jail.BanStatus) bool { return b.IP == ip })
	}
	all := func(i int) control.List {
		out := control.List{}
		for _, b := range bans[i] {
			out = append(out, b.IP)
		}
		return out
	}
	if name != "" {
		switch len(ids) {
		case 0:
			return all(0), nil
		case 1:
			return number(has(0, ids[0])), nil
		}
		out := control.List{}
		for _, ip := range ids {
			out = append(out, number(has(0, ip)))
		}
		return out, nil
	}
	out := control.List{}
	if len(ids) == 0 {
		for i, j := range jails {
			out = append(out, control.Dict{Keys: []string{j.Configured.Name}, Values: map[string]any{j.Configured.Name: all(i)}})
		}
		return out, nil
	}
	for _, ip := range ids {
		in := control.List{}
		for i, j := range jails {
			if has(i, ip) {
				in = append(in, j.Configured.Name)
			}
		}
		out = append(out, in)
	}
	return out, nil
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

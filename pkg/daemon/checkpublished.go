package daemon

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/config"
	"bailiff/pkg/firewall"
)

// CheckPublished looks at whether bans bite on the ports that this host passes on to others,
// as those of containers: what comes to them never comes to a chain at input. notes say why
// it could not be looked at.
func CheckPublished(cfg *config.Config) (warnings []error, notes []string) {
	if !onlyInput(cfg) {
		return nil, nil
	}
	type answer struct {
		found []firewall.Published
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		found, err := firewall.PublishedPorts()
		answers <- answer{found, err}
	}()
	var found []firewall.Published
	var err error
	select {
	case a := <-answers:
		found, err = a.found, a.err
	case <-time.After(checkPatience):
		err = fmt.Errorf("the kernel hasn't answered for %v", checkPatience)
	}
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			err = errors.New("it takes root, or CAP_NET_ADMIN")
		}
		return nil, []string{fmt.Sprintf("whether ports are passed on to containers, whose clients no ban at the hook input reaches, was not looked at: %v", err)}
	}
	remedy := `set hook = "prerouting" in [firewall]`
	if cfg.Fail2ban != nil {
		remedy = "put chain_hook = prerouting and chain_priority = -150 into [Init] of action.d/nftables.local, or, with iptables, chain = DOCKER-USER into the jail"
	}
	if tables := legacyTables(); len(tables) > 0 {
		notes = append(notes, fmt.Sprintf("whether rules of iptables-legacy (%s) pass ports on to containers, whose clients no ban at the hook input reaches, was not looked at: iptables-legacy -t nat -S shows them", strings.Join(tables, ", ")))
	}
	for _, p := range found {
		warnings = append(warnings, fmt.Errorf("firewall: %v: this host passes on what comes there, so that bans, which are at the hook input, shut none of its clients out: %s", p, remedy))
	}
	return warnings, notes
}

// legacyFiles are where the old kind of iptables says which of its tables there are. Its modules are not
// loaded where nobody uses it; a table of nat is made at the first look at it, so that one without
// rules is named, too. Replaced in tests.
var legacyFiles = map[string]string{"iptables": "/proc/net/ip_tables_names", "ip6tables": "/proc/net/ip6_tables_names"}

// legacyTables says in which programs' words there are tables of nat of the old kind, of whose rules
// netlink tells nothing.
func legacyTables() (out []string) {
	for _, program := range sortedKeys(legacyFiles) {
		data, err := os.ReadFile(legacyFiles[program])
		if err == nil && slices.Contains(strings.Fields(string(data)), "nat") {
			out = append(out, program+" -t nat")
		}
	}
	return out
}

// onlyInput reports whether jails ban by a chain that what is passed on never comes to.
func onlyInput(cfg *config.Config) bool {
	return !cfg.NoFirewall && len(cfg.Firewall.Hooks) > 0 && slices.ContainsFunc(cfg.Jails, func(j *config.Jail) bool { return j.Broken() == nil && !j.Unenforced }) &&
		!slices.ContainsFunc(cfg.Firewall.Hooks, func(h firewall.Hook) bool { return h.Name != "input" })
}

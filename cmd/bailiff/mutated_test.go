package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
)

// TestMutated deletes, doubles and changes each line of a running daemon's configuration,
// and has it reload: each time a jail has the new meaning, or goes on as it was with its
// bans, and a message names file and line. A share of the changes is made, all with
// MUTATED=1 in the environment; MUTATED_SEED makes the same again.
func TestMutated(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	if s := os.Getenv("MUTATED_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("MUTATED_SEED=%d", seed)
	for _, kind := range []struct {
		name  string
		world func(*testing.T) *slipWorld
		share float64
	}{{"native", nativeWorld, 0.4}, {"fail2ban", treeWorld, 0.4}, {"Debian's fail2ban", debianWorld, 0.01}} {
		t.Run(kind.name, func(t *testing.T) {
			m := &mutated{slipWorld: kind.world(t), r: rand.New(rand.NewPCG(seed, 3))}
			m.asks = control.NewClient(m.sock)
			m.was = m.jails()
			var names []string
			for name := range m.files {
				if kind.name != "fail2ban" || name != "action.d/nftables.conf" { // which is Debian's
					names = append(names, name)
				}
			}
			slices.Sort(names)
			var others []func() // what is not in the share
			for _, name := range names {
				lines := strings.Split(strings.TrimSuffix(m.files[name], "\n"), "\n")
				for i, line := range lines {
					for _, instead := range m.changes(line) {
						try := func() { m.try(name, i, line, strings.Join(slices.Concat(lines[:i], instead, lines[i+1:]), "\n")+"\n") }
						if os.Getenv("MUTATED") == "" && m.r.Float64() >= kind.share {
							others = append(others, try)
							continue
						}
						try()
					}
				}
			}
			// Most are refused: a share of few may by chance have no other.
			for ; len(others) > 0 && (m.accepted == 0 || m.refused == 0); others = others[1:] {
				others[0]()
			}
			t.Logf("%d mutations: %d accepted, %d refused, %d anything else", m.accepted+m.refused+m.other, m.accepted, m.refused, m.other)
			if m.accepted == 0 || m.refused == 0 {
				t.Error("nothing was accepted, or nothing was refused")
			}
		})
	}
}

// debianWorld is a tree of Debian's own files, with two jails.
func debianWorld(t *testing.T) *slipWorld {
	files := map[string]string{
		"jail.local": "[DEFAULT]\nbanaction = nftables\nbackend = polling\n[one]\nenabled = true\nfilter = sshd\nport = ssh\nbantime = 1h\nlogpath = @D@/1.log\n" +
			"[two]\nenabled = true\nfilter = apache-auth\nport = http,https\nlogpath = @D@/2.log\n",
	}
	for _, name := range []string{
		"jail.conf", "fail2ban.conf", "paths-debian.conf", "paths-common.conf", "filter.d/sshd.conf", "filter.d/common.conf", "filter.d/apache-auth.conf", "filter.d/apache-common.conf",
		"action.d/nftables.conf",
	} {
		data, err := os.ReadFile("/etc/fail2ban/" + name)
		if err != nil {
			t.Fatalf("%v: this test needs Debian's package fail2ban (make test installs it)", err)
		}
		files[name] = string(data)
	}
	return newSlipWorld(t, files)
}

type mutated struct {
	*slipWorld
	r                        *rand.Rand
	asks                     *control.Client
	was                      map[string]string
	accepted, refused, other int
}

// changes are what stands in the place of a line.
func (m *mutated) changes(line string) [][]string {
	out := [][]string{nil, {line, line}}
	if line == "" {
		return out
	}
	const letters = "abxz019 =[]\"'#;.,%<>()\\\t"
	at := m.r.IntN(len(line))
	out = append(out, []string{line[:at] + string(letters[m.r.IntN(len(letters))]) + line[at+1:]}, []string{line[:len(line)-1]})
	if key, value, ok := strings.Cut(line, "="); ok {
		other := "[1.5]"
		if v := strings.TrimSpace(value); v == "true" || v != "" && strings.Trim(v, "0123456789") == "" {
			other = `"many"`
		}
		out = append(out, []string{key + "= " + other})
	}
	return out
}

func jailsOf(c *config.Config) []*config.Jail {
	if c == nil {
		return nil
	}
	return c.Jails
}

// said is what a jail says of its settings, without whom it bans.
func said(maxRetry int, findTime, banTime float64, list bool) string {
	return fmt.Sprintf("maxretry %d findtime %v bantime %v list %v", maxRetry, findTime, banTime, list)
}

func (m *mutated) jails() map[string]string {
	m.t.Helper()
	s, err := m.asks.Status()
	if err != nil {
		m.t.Fatal(err)
	}
	out := map[string]string{}
	for _, j := range s.Jails {
		if !strings.HasPrefix(j.Error, "list:") && j.Error != "" {
			continue // it does not run
		}
		out[j.Name] = said(j.MaxRetry, j.FindTime, j.BanTime, j.List)
	}
	return out
}

var messagePlace = regexp.MustCompile(`[^ ]:\d+: |no such file`)

func (m *mutated) try(name string, line int, was, text string) {
	t := m.t
	if text == m.files[name] {
		return
	}
	m.write(name, text)
	fail := func(format string, args ...any) {
		t.Helper()
		m.other++
		t.Errorf("%s:%d %q in\n%s\n%s", name, line+1, was, text, fmt.Sprintf(format, args...))
	}
	res, err := m.asks.Reload()
	now := m.jails()
	fresh, freshErr := config.Load(config.Options{Path: m.dir})
	switch {
	case err != nil:
		m.refused++
		if !strings.Contains(err.Error(), "everything stays as it was") || !messagePlace.MatchString(err.Error()) {
			fail("%v", err)
		}
		if fmt.Sprint(now) != fmt.Sprint(m.was) {
			fail("%v, was %v", now, m.was)
		}
	case freshErr != nil:
		fail("taken, but it can't be loaded: %v", freshErr)
	default:
		if len(res.Errors) > 0 {
			m.refused++
		} else {
			m.accepted++
		}
		for _, e := range res.Errors {
			if !messagePlace.MatchString(e) {
				fail("no place in %q", e)
			}
		}
		for of, before := range m.was {
			i := slices.IndexFunc(fresh.Jails, func(j *config.Jail) bool { return j.Name == of })
			switch {
			case i < 0:
				if now[of] != "" {
					fail("jail %s is gone, yet it is %s", of, now[of])
				}
			case fresh.Jails[i].Broken() != nil:
				if now[of] != before || !strings.Contains(strings.Join(res.Errors, "\n"), "jail "+of+": ") {
					fail("jail %s is broken: it is %q, was %q, and it says %q", of, now[of], before, res.Errors)
				}
			default:
				j := fresh.Jails[i]
				want := said(j.MaxRetry, j.FindTime.Seconds(), max(j.BanTime.Seconds(), -1), false)
				if j.List != nil {
					want = said(0, 0, -1, true)
				}
				if now[of] != want {
					fail("jail %s: it is %q, should be %q", of, now[of], want)
				}
			}
		}
	}
	// The jails that go on have their bans, in the list and in the kernel.
	for of, who := range map[string]string{"one": "192.0.2.1", "two": "192.0.2.2"} {
		if i := slices.IndexFunc(jailsOf(fresh), func(j *config.Jail) bool { return j.Name == of }); i >= 0 && fresh.Jails[i].Broken() == nil && fresh.Jails[i].Unenforced {
			continue // it has no action any more
		}
		if i := slices.IndexFunc(jailsOf(fresh), func(j *config.Jail) bool { return j.Name == of }); i >= 0 && fresh.Jails[i].BanTime == 0 {
			continue // a reload cuts bans to the longest time that the jail gives now: none at all
		}
		// Where the one before had its commands make the same sets, those end beside, and
		// take them away once more; that is undone as what anybody else does.
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
			table, err := m.host.Command(context.Background(), "nft", "-s", "list", "ruleset").Output()
			if err != nil {
				t.Fatal(err)
			}
			if now[of] == "" || strings.Contains(string(table), "\t"+"set addr-set-"+of+" {") && strings.Contains(string(table), who) {
				break
			}
			if time.Now().After(end) {
				fail("jail %s has lost its ban:\n%s", of, table)
				break
			}
		}
	}
	m.restore()
	if res, err = m.asks.Reload(); err != nil || len(res.Errors) > 0 {
		fail("after it is mended: %v %q", err, res.Errors)
	}
	for of, who := range map[string]string{"one": "192.0.2.1", "two": "192.0.2.2"} {
		if _, err := m.asks.Ban(of, control.BanRequest{IPs: []string{who}}); err != nil {
			t.Fatal(err)
		}
	}
	if now := m.jails(); fmt.Sprint(now) != fmt.Sprint(m.was) {
		t.Fatalf("after it is mended: %v, was %v", now, m.was)
	}
}

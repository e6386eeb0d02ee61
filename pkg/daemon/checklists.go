package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/guard"
	"bailiff/pkg/iplist"
	"bailiff/pkg/jail"
)

// CheckLists reads the lists of a configuration and the files of ignoreip and of
// proxy.trusted, as a start
// would do it on this host. problems are what can't be read; warnings are what is left
// out of a list: lines that are no entries, and what would shut out this host. Names are
// not asked for.
func CheckLists(cfg *config.Config) (problems, warnings []error) {
	g := guard.New(guard.Options{
		Lookup:   func(context.Context, string, string) ([]netip.Addr, error) { return nil, errors.New("not asked for") },
		Sessions: func() []netip.Addr { return sessions(sessionFiles, utmpFile) },
	})
	defer g.Close()
	for _, c := range cfg.Jails {
		want := jail.Protected(c)
		if len(c.List) == 0 && len(want.Files)+len(want.ProxyFiles) == 0 {
			continue
		}
		if len(c.List) > 0 {
			want = protectedFrom(c)
		}
		want.Names = nil
		changed := make(chan struct{}, 1)
		view := g.View(want, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
		for wait := time.After(2 * guard.Patience); !view.Ready(); {
			select {
			case <-changed:
			case <-wait:
			}
		}
		for _, text := range view.FileProblems() {
			if strings.HasPrefix(text, "proxy.trusted") { // the same for many jails
				problems = append(problems, errors.New(text))
				continue
			}
			problems = append(problems, fmt.Errorf("jail %s: %s", c.Name, text))
		}
		for _, text := range view.Rules().Wide() {
			warnings = append(warnings, fmt.Errorf("jail %s: %s", c.Name, text))
		}
		if len(c.List) > 0 {
			p, w := checkList(c, view.Rules())
			problems, warnings = append(problems, p...), append(warnings, w...)
		}
		view.Close()
	}
	return problems, warnings
}

func checkList(c *config.Jail, rules *guard.Rules) (problems, warnings []error) {
	files := iplist.Files(c.List)
	for _, u := range c.ListURLs {
		if _, err := os.Stat(u.File); err != nil { // who checks doesn't fetch
			files = slices.DeleteFunc(files, func(f string) bool { return f == u.File })
			warnings = append(warnings, fmt.Errorf("jail %s: list: %s was not fetched yet: the daemon does that", c.Name, u.URL))
		}
	}
	if len(files) == 0 && len(warnings) > 0 {
		return nil, warnings
	}
	if len(files) == 0 {
		return []error{fmt.Errorf("jail %s: list: no file matches %s", c.Name, strings.Join(c.List, " "))}, nil
	}
	set, bad, err := iplist.ReadFiles(files)
	if err != nil {
		return []error{fmt.Errorf("jail %s: list: %s", c.Name, byURL(c, err.Error()))}, nil
	}
	for _, b := range bad {
		warnings = append(warnings, fmt.Errorf("jail %s: %s: left out", c.Name, byURL(c, b.Error())))
	}
	if _, cuts := rules.Cut(set); len(cuts) > 0 {
		for _, text := range leftOut(files, cuts) {
			warnings = append(warnings, fmt.Errorf("jail %s: %s", c.Name, byURL(c, text)))
		}
	}
	return nil, warnings
}

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
	said := map[string]bool{}
	add := func(to *[]error, err error) { // what is of proxy.trusted is the same for all jails
		if !said[err.Error()] {
			said[err.Error()] = true
			*to = append(*to, err)
		}
	}
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
			add(&problems, protectedPlace(cfg, c, text))
		}
		for _, text := range view.Rules().Wide() {
			add(&warnings, protectedPlace(cfg, c, text))
		}
		if len(c.List) > 0 {
			p, w := checkList(c, view.Rules())
			problems, warnings = append(problems, p...), append(warnings, w...)
		}
		view.Close()
	}
	return problems, warnings
}

// protectedPlace is what is to be said of a file of ignoreip or proxy.trusted, with where that stands. What is
// the same for all jails names none.
func protectedPlace(cfg *config.Config, c *config.Jail, text string) error {
	if strings.HasPrefix(text, "proxy.trusted") {
		at := placeOf(c, "proxy.trusted")
		if at == "" {
			at = cfg.Place("proxy", "trusted")
		}
		return errors.New(at + text)
	}
	return fmt.Errorf("%sjail %s: %s", placeOf(c, "ignoreip"), c.Name, text)
}

func checkList(c *config.Jail, rules *guard.Rules) (problems, warnings []error) {
	at := settingPlace(c, "list")
	files := iplist.Files(c.List)
	for _, u := range c.ListURLs {
		if _, err := os.Stat(u.File); err != nil { // who checks doesn't fetch
			files = slices.DeleteFunc(files, func(f string) bool { return f == u.File })
			warnings = append(warnings, fmt.Errorf("%s: list: %s was not fetched yet: the daemon does that", at, u.URL))
		}
	}
	if len(files) == 0 && len(warnings) > 0 {
		return nil, warnings
	}
	if len(files) == 0 {
		return []error{fmt.Errorf("%s: list: no file matches %s", at, strings.Join(c.List, " "))}, nil
	}
	set, bad, err := iplist.ReadFiles(files)
	if err != nil {
		return []error{fmt.Errorf("%s: list: %s", at, byURL(c, err.Error()))}, nil
	}
	for _, b := range bad {
		warnings = append(warnings, fmt.Errorf("%s: %s: left out", at, byURL(c, b.Error())))
	}
	if _, cuts := rules.Cut(set); len(cuts) > 0 {
		for _, text := range leftOut(files, cuts) {
			warnings = append(warnings, fmt.Errorf("%s: %s", at, byURL(c, text)))
		}
	}
	return nil, warnings
}

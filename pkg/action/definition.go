package action

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/tags"
)

// Definition is an action as it is configured: fail2ban's commands (actionban and
// its like) with the parameters that stand in them as <tags>.
type Definition struct {
	Name string // unique within the jail
	// Properties are the commands and the parameters by name. NAME?family=inet6 is
	// NAME where an IPv6 address is banned.
	Properties *tags.Options
	// Timeout is how long a command may take; 0: DefaultTimeout.
	Timeout time.Duration
	// Mail sends mail and runs nothing; nil: the commands are run.
	Mail *Mail
}

// DefaultTimeout is how long a command may take if its action names no timeout.
const DefaultTimeout = 60 * time.Second

// late are tags that hold what an attacker wrote: they are never part of a text
// that is looked at again.
var late = map[string]bool{"matches": true, "ipmatches": true, "ipjailmatches": true}

// onlyFor is the name of a property that holds for one family only.
var onlyFor = lazyregexp.New(`^\w+\?family=`)

// commandNames are properties that every action has, if only as an empty text.
var commandNames = []string{
	"actionstart", "actionban", "actionreban", "actionunban", "actioncheck", "actionrepair", "actionflush", "actionstop", "actionreload",
}

// get returns a property, "" if there is none.
func (d *Definition) get(name string) string {
	v, _ := d.Properties.Get(name)
	return v
}

func (d *Definition) truth(name string) bool {
	switch strings.ToLower(strings.TrimSpace(d.get(name))) {
	case "1", "on", "true", "yes":
		return true
	}
	return false
}

// NoRestored reports whether bans that are restored are none of its business.
func (d *Definition) NoRestored() bool { return d.Mail != nil || d.truth("norestored") }

// byFamily reports whether something in it depends on the address's family.
func (d *Definition) byFamily() bool {
	return slices.ContainsFunc(d.Properties.Names, onlyFor.MatchString)
}

// onDemand reports whether it starts with its first ban.
func (d *Definition) onDemand() bool {
	if v, ok := d.Properties.Get("actionstart_on_demand"); ok {
		return v != "" && d.truth("actionstart_on_demand")
	}
	return d.byFamily()
}

// families are those for which it starts; "" is all of them.
func (d *Definition) families() []string {
	if v := strings.FieldsFunc(d.get("families"), func(r rune) bool { return r == ' ' || r == ',' }); len(v) > 0 {
		return v
	}
	if d.byFamily() {
		return []string{"inet4", "inet6"}
	}
	return []string{""}
}

// Resolve fills the parameters into all properties, for a family of addresses;
// tags that only a ban can fill in stay. The error is for tags that lead back to
// themselves.
func (d *Definition) Resolve(family string) (*tags.Options, error) {
	all := d.Properties.Clone()
	for _, n := range commandNames {
		if _, ok := all.Get(n); !ok {
			all.Set(n, "")
		}
	}
	all.Set("timeout", strconv.Itoa(int(cmp.Or(d.Timeout, DefaultTimeout)/time.Second)))
	condition := ""
	if family != "" {
		condition = "family=" + family
	}
	out, err := tags.Substitute(all, condition, late, nil)
	if err != nil {
		return nil, fmt.Errorf("action %s: %w", d.Name, err)
	}
	if condition != "" {
		for _, n := range out.Names {
			if base, ok := strings.CutSuffix(n, "?"+condition); ok {
				out.Set(base, out.Values[n])
			}
		}
	}
	return out, nil
}

// sameWork reports whether another definition bans in the same way, so that it can
// go on with what this one has done. One that says what is to be done at a reload
// (actionreload) takes over what another start has made, too.
func (d *Definition) sameWork(other *Definition) bool {
	if (d.Mail != nil) != (other.Mail != nil) {
		return false
	}
	if d.Mail != nil || d.NoRestored() && other.NoRestored() {
		return true // nothing of theirs lasts
	}
	if !slices.Equal(d.families(), other.families()) {
		return false
	}
	for _, family := range d.families() {
		mine, err := d.Resolve(family)
		theirs, err2 := other.Resolve(family)
		if err != nil || err2 != nil {
			return false
		}
		names := []string{"actionban", "actionunban", "actionflush"}
		if strings.TrimSpace(theirs.Values["actionreload"]) == "" {
			names = append(names, "actionstart", "actionstop")
		}
		for _, n := range names {
			if mine.Values[n] != theirs.Values[n] {
				return false
			}
		}
	}
	return true
}

// laterTags reports whether a command that may be run after the ban tells of the
// failures, so that they have to be kept.
func (d *Definition) laterTags() bool {
	names := []string{"actionunban", "actionprolong", "actionreban"}
	if d.get("actioncheck") != "" {
		names = append(names, "actionban")
	}
	for _, family := range d.families() {
		all, err := d.Resolve(family)
		if err != nil {
			return true
		}
		for _, n := range names {
			if v := all.Values[n]; strings.Contains(v, "<matches>") || strings.Contains(v, "<F-") {
				return true
			}
		}
	}
	return false
}

// UsesGroups reports whether a command tells of groups of the filter.
func (d *Definition) UsesGroups() bool {
	return slices.ContainsFunc(d.Properties.Names, func(n string) bool { return strings.Contains(d.Properties.Values[n], "<F-") })
}

// Texts are the commands of an action as they are configured, for all families: what its
// commands are filled in from.
func (d *Definition) Texts() (out []string) {
	if d.Mail != nil {
		return nil
	}
	for _, family := range []string{"", "inet4", "inet6"} {
		all, err := d.Resolve(family)
		if err != nil {
			continue // its commands are not run
		}
		for _, n := range all.Names {
			if text := all.Values[n]; strings.HasPrefix(n, "action") && strings.TrimSpace(text) != "" && !slices.Contains(out, text) {
				out = append(out, text)
			}
		}
	}
	return out
}

package firewall

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// The sets and rules of a jail: which of those that are there can stay, what is made
// anew, and where what they held goes.

// placeJail finds or makes the sets of a jail, and its rules.
func (p *plan) placeJail(name string) error {
	j := p.f.jails[name]
	running := j.sets[setAddr4] != nil
	var sets [6]*nftables.Set
	var missing []string
	rebuild := ""   // why
	var old []place // what is there in sets of the jail
	for kind, plain := range SetNames(name) {
		wanted := kind < setNet4 || j.sets[kind] != nil || j.want[kind]
		for _, at := range p.setsOf[name] {
			if k, _, _ := namedAs(at.name); k == kind && strings.HasSuffix(at.name, plain) {
				old = append(old, place{at, kind})
				wanted = true
			}
		}
		if kind >= setPrefix4 && !j.rule.bansNetworks(kind) {
			if p.s.sets[plain] != nil {
				rebuild = fmt.Sprintf("networks in set %s are no longer banned as such", plain)
			}
			continue
		}
		if !wanted {
			continue
		}
		at := plain
		for {
			set := p.f.newSet(kind, at)
			found := p.s.sets[at]
			if found == nil {
				if at != plain && rebuild == "" {
					rebuild = fmt.Sprintf("set %s can't be used", plain)
				}
				if running && j.sets[kind] != nil {
					missing = append(missing, at)
				}
				sets[kind] = set
				break
			}
			if found.is(set) {
				sets[kind] = set
				break
			}
			if rule := p.foreignIn(at); rule != nil {
				p.note("set %s (%s) should be %s, and a rule of somebody else's looks into it (handle %d in chain %s): left as it is; the bans of jail %s are in set %s until that rule is gone", at, found.form(), formOf(set), rule.handle, rule.chain, name, beside+at)
				at = beside + at
				continue
			}
			rebuild = fmt.Sprintf("set %s was %s, and should be %s", at, found.form(), formOf(set))
			sets[kind] = set
			break
		}
	}
	for _, at := range old {
		if sets[at.kind] != nil && sets[at.kind].Name != at.set.name && p.foreignIn(at.set.name) == nil && rebuild == "" {
			rebuild = fmt.Sprintf("set %s is not needed any more", at.set.name)
		}
	}
	// Under another mask, what a set holds means something else.
	bits := map[string]int{}
	for _, r := range p.rulesFor[name] {
		set, mask, _ := r.shutsOut()
		kind, _, _ := namedAs(set)
		if kind < setPrefix4 {
			continue
		}
		bits[set] = onesOf(mask)
		if j.rule.bansNetworks(kind) && bits[set] != j.rule.bitsOf(kind) {
			rebuild = fmt.Sprintf("set %s held networks of /%d, and the jail bans /%d now", set, bits[set], j.rule.bitsOf(kind))
		}
	}
	switch {
	case rebuild != "":
		kept, err := p.rebuild(name, j, old, bits, &sets)
		if err != nil {
			return err
		}
		p.rebuilt[name] = kept == 0
		p.mended("%s: made anew, with the %d elements that were there", rebuild, kept)
	default:
		for _, set := range sets {
			if set != nil && p.s.sets[set.Name] == nil {
				p.addSets = append(p.addSets, filledSet{set: set})
			}
		}
	}
	if len(missing) > 0 {
		p.mended("sets of jail %s were gone: %s", name, strings.Join(missing, ", "))
		p.Refill = append(p.Refill, name)
	}
	p.sets[name] = sets
	p.placeRules(name, j, sets, running)
	return nil
}

// place is a set that is there, and what kind of ours it is.
type place struct {
	set  *foundSet
	kind int
}

func onesOf(mask []byte) int {
	n := 0
	for _, b := range mask {
		for ; b&0x80 != 0; b <<= 1 {
			n++
		}
	}
	return n
}

func formOf(s *nftables.Set) string {
	text := "type " + s.KeyType.Name
	if s.Interval {
		return text + ", flags interval,timeout"
	}
	return text + ", flags timeout"
}

// foreignIn returns a rule of somebody else's that has to do with a set.
func (p *plan) foreignIn(set string) *foundRule {
	for _, r := range p.strangers {
		if r.mentions(set) {
			return r
		}
	}
	return nil
}

// rebuild makes all sets of a jail anew, with what the old ones held in the right one of
// them each. It returns with how much.
func (p *plan) rebuild(name string, j *jailSets, old []place, bits map[string]int, sets *[6]*nftables.Set) (kept int, err error) {
	var all []span
	for _, at := range old {
		length := j.rule.bitsOf(at.kind)
		if n := bits[at.set.name]; n > 0 {
			length = n
		}
		switch at.set.keyLen {
		case 4, 16:
			interval := at.set.flags&unix.NFT_SET_INTERVAL != 0
			if at.set.flags&unix.NFT_SET_MAP != 0 {
				p.note("set %s was a map: its elements could not be kept", at.set.name)
				break
			}
			spans, err := p.f.readSpans(at.set.name, lengthIn(length, at), interval)
			if err != nil {
				return 0, err
			}
			all = append(all, spans...)
		default:
			p.note("set %s was %s: its elements are no addresses, and could not be kept", at.set.name, at.set.form())
		}
	}
	for _, r := range p.rulesFor[name] {
		p.delRules[r.handle] = r
	}
	for _, at := range old {
		if p.foreignIn(at.set.name) == nil {
			p.delSets = append(p.delSets, at.set.name)
		} else if sets[at.kind] != nil && sets[at.kind].Name == at.set.name {
			p.flushSets = append(p.flushSets, at.set.name) // of the right form, and in somebody's rule
		}
	}
	for kind, spans := range j.rule.sorted(all) {
		if sets[kind] == nil {
			if len(spans) == 0 {
				continue
			}
			sets[kind] = p.f.newSet(kind, SetNames(name)[kind])
		}
		p.addSets = append(p.addSets, filledSet{sets[kind], spans})
		kept += len(spans)
	}
	return kept, nil
}

// lengthIn is the length of what an element stands for, which is one address where the
// set was not made for the family that it should be.
func lengthIn(length int, at place) int {
	if at.kind < setPrefix4 {
		return int(at.set.keyLen) * 8
	}
	return length
}

// placeRules finds or makes a jail's rules.
func (p *plan) placeRules(name string, j *jailSets, sets [6]*nftables.Set, running bool) {
	lacking := map[[2]string][]wantedRule{}
	for _, chain := range p.chains {
		for kind, set := range sets {
			if set == nil {
				continue
			}
			for _, w := range j.wanted(kind, set, chain) {
				key := [2]string{chain, w.text}
				lacking[key] = append(lacking[key], w)
			}
		}
	}
	extra := 0
	moved := map[[2]string]bool{} // from behind a rule that let everybody in
	for _, r := range p.rulesFor[name] {
		if p.delRules[r.handle] != nil {
			if p.ended[r.chain] {
				moved[[2]string{r.chain, r.text}] = true
			}
			continue
		}
		key := [2]string{r.chain, r.text}
		if len(lacking[key]) > 0 {
			lacking[key] = lacking[key][1:]
			continue
		}
		if slices.Contains(p.chains, r.chain) || p.atStart {
			p.delRules[r.handle] = r
			extra++
		}
	}
	n := 0
	for _, chain := range p.chains { // in their order
		for kind, set := range sets {
			if set == nil {
				continue
			}
			for _, w := range j.wanted(kind, set, chain) {
				key := [2]string{chain, w.text}
				if len(lacking[key]) > 0 {
					lacking[key] = lacking[key][1:]
					if w.front = p.ended[chain]; (!w.front || !moved[key]) && (!running || j.sets[kind] != nil) {
						n++
					}
					p.addRules = append(p.addRules, w)
				}
			}
		}
	}
	if n > 0 && (running || extra > 0) {
		p.mended("rules of jail %s were missing or others: %d made", name, n)
	}
	if extra > 0 {
		p.mended("rules of jail %s were there twice or otherwise: %d removed", name, extra)
	}
}

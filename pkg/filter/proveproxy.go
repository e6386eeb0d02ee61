package filter

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bailiff/pkg/pyregexp"
)

// How the prover looks at lines in which proxies tell who is before them. The client is
// the last address of a list that is no proxy's; so what matters is that the list ends
// where it should, and that from the true address on nothing of it is the client's.

// forwarded are the questions about a line with a list; nil: it has none that counts.
func (x *prover) forwarded(f *Filter, l *look, d date) ([]question, error) {
	n := len(idGroups)
	who := func(e pyregexp.End) pyregexp.Taken { return whom(e.Outer, e.Inner) }
	if chain, err := x.span(f, l, d, []string{"chain"}, ""); err == nil {
		names := append(slices.Clone(idGroups), "chain")
		if f.Trusted == nil { // a list counts that is one address
			truth, err := x.apart(l, chain)
			return []question{{names: names, truth: truth, right: func(e pyregexp.End) bool {
				return who(e) == pyregexp.TookTruth && (took(e, n) == pyregexp.TookTruth || took(e, n) == pyregexp.TookNothing)
			}}}, err
		}
		truth, upTo, err := x.hop(l, chain)
		return []question{{names: names, upTo: upTo("chain"), truth: truth, right: func(e pyregexp.End) bool {
			return who(e) != pyregexp.TookNothing && took(e, n) == pyregexp.TookTruth
		}}}, err
	} else if !errors.Is(err, errNoAddress) {
		return nil, err
	}
	list, err := x.span(f, l, d, []string{"forwarded"}, "")
	if err != nil || f.Trusted == nil { // else it says nothing
		return nil, ignoring(err, errNoAddress)
	}
	peer, err := x.truth(f, l, d, idGroups, "")
	if err != nil {
		return nil, err
	}
	if p := ParseID(l.line[peer[0]:peer[1]], -1); !p.IsValid() || !f.Trusted(p) {
		return nil, nil // it is the client
	}
	truth, upTo, err := x.hop(l, list)
	return []question{
		{names: idGroups, truth: peer, right: func(e pyregexp.End) bool { return who(e) == pyregexp.TookTruth }},
		{names: append(slices.Clone(idGroups), "forwarded"), upTo: upTo("forwarded"), truth: truth, right: func(e pyregexp.End) bool {
			return took(e, n) == pyregexp.TookTruth
		}},
	}, err
}

func ignoring(err, one error) error {
	if errors.Is(err, one) {
		return nil
	}
	return err
}

// hop finds the true address in a list, from there to the list's end. What stands before it
// in the list doesn't matter if a comma is between.
func (x *prover) hop(l *look, list [2]int) (truth [2]int, upTo func(string) []string, err error) {
	upTo = func(string) []string { return nil }
	begin := hopOf(l.line[list[0]:list[1]], x.probe.Host)
	if begin < 0 {
		return truth, upTo, errNoAddress
	}
	truth = [2]int{list[0] + begin, list[1]}
	if comma := strings.LastIndexByte(l.line[list[0]:truth[0]], ','); comma >= 0 {
		upTo = func(group string) []string { return []string{group} }
		_, err = x.apart(l, [2]int{list[0] + comma, list[1]})
		return truth, upTo, err
	}
	_, err = x.apart(l, list)
	return truth, upTo, err
}

// hopOf returns where an address begins in a list, as the last but for those behind it; -1:
// it is not there.
func hopOf(list, host string) int {
	for end := len(list); end > 0; {
		from := strings.LastIndexByte(list[:end], ',') + 1
		if text := strings.Trim(list[from:end], " \t\""); text != "" && sameClient(text, host) {
			return from + strings.Index(list[from:end], text)
		}
		end = from - 1
	}
	return -1
}

func sameClient(text, host string) bool {
	p := address(text)
	return p.IsValid() && name(p) == host || sameHost(text, host)
}

// apart says what of the client's stands in a text in which nothing of his may.
func (x *prover) apart(l *look, at [2]int) ([2]int, error) {
	for _, p := range x.parts {
		if at[0] < p.to-l.shift && p.from-l.shift < at[1] {
			return at, fmt.Errorf("client's part %s is the address itself, or stands beside it", p.Name)
		}
	}
	return at, nil
}

// jsonList answers for a field of JSON that holds a list: the client's text in it does no
// harm before the true address. It says what does.
func (x *prover) jsonList(f *Filter, field, text string) string {
	last := -1
	for _, p := range x.parts {
		if at := strings.LastIndex(text, p.Text); at >= 0 {
			last = max(last, at+len(p.Text))
		}
	}
	if last < 0 {
		return ""
	}
	trusted := f.Trusted
	if trusted == nil {
		trusted = func(netip.Prefix) bool { return false }
	}
	hops := strings.Split(text[last:], ",")
	for i := len(hops) - 1; i > 0; i-- { // the first goes on where the client's text ends
		p := address(strings.Trim(hops[i], " \t\""))
		if !p.IsValid() {
			break
		}
		if !trusted(p) {
			return ""
		}
	}
	return fmt.Sprintf("a client writes in the list %s, and behind what it writes no address is left that is not a proxy's", field)
}

package filter

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// failures tries the failregexes in order; without CheckAll, the first that
// matches wins.
func (f *Filter) failures(r *Result, pre Groups) {
	org := f.org
	maybe := f.fail.candidates(f.buf)
	// useUp takes the lines of a match out of the buffer; the expressions behind
	// it see what is left.
	useUp := func(rest []Line) {
		f.buffer = rest
		f.rebuild(rest)
		maybe = f.fail.candidates(f.buf)
	}
	for i := -1; ; {
		n := slices.IndexFunc(maybe, func(m int) bool { return m > i })
		if n < 0 {
			return
		}
		i = maybe[n]
		x := &f.fail.list[i]
		m := f.confirm(&f.fail, i, f.buf, r)
		if m == nil {
			continue
		}
		groups := f.groups(x, m)
		matched, rest := f.parts(x, m, org)
		if len(f.ignore.list) > 0 {
			text := f.buf
			if f.maxLines > 1 {
				text = joined(matched)
			}
			if f.ignored(r, text) {
				if f.maxLines > 1 {
					useUp(rest)
				}
				if !f.CheckAll {
					return
				}
				continue
			}
		}
		if f.maxLines > 1 { // what matched is used up
			useUp(rest)
		}
		order := x.order
		if len(pre) > 0 {
			order = slices.DeleteFunc(slices.Clone(f.pref.order), func(n string) bool { return n == "content" })
			for _, n := range x.order {
				if !slices.Contains(order, n) {
					order = append(order, n)
				}
			}
			all := maps.Clone(pre)
			maps.Copy(all, groups)
			groups = all
		}
		failure, ok := f.failure(i, groups, order, matched, r)
		if ok {
			r.Failures = append(r.Failures, failure)
		}
		if !f.CheckAll {
			return
		}
	}
}

func joined(lines []Line) []byte {
	var out []byte
	for i, l := range lines {
		if i > 0 {
			out = append(out, '\n')
		}
		out = append(append(out, l.Before...), l.After...)
	}
	return append(out, '\n')
}

// parts tells the lines that a match used from those that it did not: those
// around it, and those that <SKIPLINES> passed over.
func (f *Filter) parts(x *expression, m []int, org []Line) (matched, rest []Line) {
	if len(org) <= 1 {
		return org, nil
	}
	text := string(f.buf)
	from, to := 0, len(text)
	if i := strings.LastIndexByte(text[:min(m[0]+1, len(text))], '\n'); i >= 0 {
		from = i + 1
	}
	if at := max(m[1]-1, 0); at <= len(text) {
		if i := strings.IndexByte(text[at:], '\n'); i >= 0 {
			to = at + i + 1
		}
	}
	first := min(strings.Count(text[:from], "\n"), len(org))
	end := min(strings.Count(text[:max(to, from)], "\n"), len(org))
	matched = append(matched, org[first:max(end, first)]...)
	rest = append(rest, org[:first]...)
	skipped := ""
	for _, g := range x.skips {
		if m[2*g] >= 0 {
			skipped += text[m[2*g]:m[2*g+1]]
		}
	}
	n := 0
	for _, line := range splitLines(skipped) {
		for k := n; k < len(matched); k++ {
			if matched[k].Before+matched[k].After == line {
				rest = append(rest, matched[k])
				matched = append(matched[:k], matched[k+1:]...)
				n = k
				break
			}
		}
	}
	return matched, append(rest, org[end:]...)
}

func splitLines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
}

// failure makes a failure of a match; not ok if it is none, or not yet.
func (f *Filter) failure(i int, groups Groups, order []string, lines []Line, r *Result) (Failure, bool) {
	out := Failure{Regex: i, Time: r.Time, number: f.number}
	conn := &connection{groups: groups, order: order, matches: lines}
	mlfid, tied := groups.Text("mlfid")
	if tied {
		conn.matches = nil
		conn = f.conns.merge(mlfid, conn, lines, f.clock(r))
		groups = conn.groups
		if has(groups, "nofail") {
			if !f.CheckAll {
				return out, false
			}
			out.NoFail = true
		}
	}
	out.Groups, out.Lines = maps.Clone(groups), slices.Clone(conn.matches)
	out.Users, out.NofailLines = slices.Clone(conn.users), slices.Clone(conn.nofailMatches)
	identified := f.identify(&out, groups, tied)
	switch {
	case identified && out.IP.IsValid():
		conn.note(orderIP)
	case !identified && tied:
		conn.setPending(true)
		out.Pending = true
	}
	out.Order = slices.Clone(conn.order)
	return out, identified || tied && f.CheckAll
}

// clock is the time by which connections are forgotten: that of the line.
func (f *Filter) clock(r *Result) time.Time {
	if r.Time.IsZero() {
		return f.last
	}
	return r.Time
}

func has(g Groups, name string) bool {
	s, ok := g.Text(name)
	return ok && s != ""
}

// identify finds whose failure it is.
func (f *Filter) identify(out *Failure, groups Groups, tied bool) bool {
	fid, hasFID := groups.Text("fid")
	raw := f.RawHosts || f.dns == DNSRaw
	for _, g := range []string{"ip4", "ip6"} {
		text, ok := groups.Text(g)
		if !ok {
			continue
		}
		bits := -1
		if c, ok := groups.Text("cidr"); ok && c != "" {
			bits, _ = strconv.Atoi(c)
		}
		addr := prefix(text, bits)
		if hasFID && fid != text {
			if addr.IsValid() {
				out.IP = addr.Addr()
			}
			out.setID(fid, raw)
			return true
		}
		out.ID, out.Addr = text, addr
		switch {
		case addr.IsValid():
			out.ID = name(addr)
		case bits >= 0:
			out.ID += "/" + strconv.Itoa(bits)
		}
		return true
	}
	if dns, ok := groups.Text("dns"); ok {
		if !raw {
			out.ID = dns
			if out.Addr = ParseID(dns, -1); !out.Addr.IsValid() {
				out.Name = true
			}
			return true
		}
		if hasFID && fid != dns {
			dns = fid
		}
		out.ID = dns
		return true
	}
	if !hasFID || fid == "" && tied {
		return false
	}
	out.setID(fid, raw)
	return true
}

// setID takes a text that identifies; where it is an address, in its usual form.
func (out *Failure) setID(id string, raw bool) {
	out.ID = id
	if raw {
		return
	}
	bits := -1
	if strings.Contains(id, "/") {
		bits = 0
	}
	if out.Addr = ParseID(id, bits); out.Addr.IsValid() {
		out.ID = name(out.Addr)
	}
}

// prefix reads an address with the length of its network, -1 for one address.
func prefix(text string, bits int) netip.Prefix {
	p := ParseID(text, -1)
	if !p.IsValid() || bits < 0 {
		return p
	}
	if bits > p.Addr().BitLen() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(p.Addr(), bits).Masked()
}

func name(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

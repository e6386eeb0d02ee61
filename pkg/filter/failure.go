package filter

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/iplist"
)

// failures tries the failregexes in order; without CheckAll, the first that
// matches wins. maybe are those that may match.
func (f *Filter) failures(r *Result, pre *prefix, maybe []int) {
	org := f.org
	// useUp takes the lines of a match out of the buffer; the expressions behind
	// it see what is left.
	useUp := func(rest []Line) {
		f.buffer = rest
		f.rebuild(rest)
		maybe = f.fail.candidates(f.buf)
	}
	for i := -1; ; {
		n := 0
		for n < len(maybe) && maybe[n] <= i {
			n++
		}
		if n == len(maybe) {
			return
		}
		i = maybe[n]
		x := &f.fail.list[i]
		m := f.confirm(&f.fail, i, f.buf, r)
		if m == nil {
			continue
		}
		// Before the ignoreregexes, whose captures take the place of these.
		line := f.found(x, m, pre)
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
		f.failure(i, &line, matched, r)
		if !f.CheckAll {
			return
		}
	}
}

// found reads the groups of a match and of the prefregex around it.
func (f *Filter) found(x *expression, m []int, pre *prefix) found {
	groups, order := x.groups(m, f.buf), x.order
	if pre != nil {
		groups, order = withPrefix(f.pref, pre, x, groups)
	}
	return lookIn(groups, order)
}

// withPrefix joins the groups of the prefregex and those of the failregex, which come
// before them.
func withPrefix(pref *expression, pre *prefix, x *expression, groups Groups) (Groups, []string) {
	if len(pre.groups) == 0 {
		return groups, x.order
	}
	order := slices.DeleteFunc(slices.Clone(pref.order), func(n string) bool { return n == "content" })
	for _, n := range x.order {
		if !slices.Contains(order, n) {
			order = append(order, n)
		}
	}
	all := maps.Clone(pre.groups)
	maps.Copy(all, groups)
	return all, order
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

// failure makes a failure of a match and adds it, if it is one, and not only later.
func (f *Filter) failure(i int, line *found, lines []Line, r *Result) {
	user := strings.Clone(line.user.text)
	if f.logins && f.fail.list[i].success {
		f.login(&line.who, user, false, line, r)
		return
	}
	if !line.mlfid.ok {
		if f.logins && line.gained {
			f.login(&line.who, user, false, line, r)
		}
		out := Failure{Regex: i, Time: r.Time, number: f.number, User: user, Unsure: line.gained}
		if f.identify(&out, &line.who, false) && f.viaProxy(&out, line, r) {
			out.Groups, out.Lines, out.Order = line.groups, slices.Clone(lines), slices.Clone(line.order)
			if out.IP.IsValid() && out.Groups != nil && !slices.Contains(out.Order, orderIP) {
				out.Order = append(out.Order, orderIP)
			}
			r.Failures = append(r.Failures, out)
		}
		return
	}
	r.Tied = true
	gained := line.gained
	conn := f.conns.merge(line, lines, f.clock(r))
	defer f.conns.settle(conn)
	if f.logins && gained {
		who, unsure := user, false
		if who == "" {
			who, unsure = conn.user()
		}
		f.login(&conn.who, who, unsure, line, r)
	}
	if conn.nofail && !f.CheckAll {
		return
	}
	out := Failure{Regex: i, Time: r.Time, number: f.number, NoFail: conn.nofail, User: user}
	last, unsure := conn.user()
	if user == "" {
		out.User = last
	}
	if f.logins { // what was tried before on the connection counts with this one
		out.Unsure = gained || len(conn.users) > 1 || user == "" && unsure
	}
	who := &conn.who
	if f.attempts && line.who.some() {
		who = &line.who // the id of a process may be given again, to somebody else's
	}
	identified := conn.nofail && f.Unnamed && (who.ip4.ok || who.ip6.ok) || f.identify(&out, who, true)
	if identified && f.attempts && !conn.nofail && !conn.attempts.another(i, out.ID) {
		conn.told()
		return
	}
	if !identified {
		conn.setPending(true)
		out.Pending = true
	}
	if identified || f.CheckAll {
		if len(conn.matches) > 0 {
			out.Lines = slices.Clone(conn.matches)
		}
		if conn.groups != nil {
			if identified && out.IP.IsValid() {
				conn.note(orderIP)
			}
			out.Groups, out.Order = maps.Clone(conn.groups), slices.Clone(conn.order)
			if len(conn.users) > 0 {
				out.Users = slices.Clone(conn.users)
			}
			if len(conn.nofailMatches) > 0 {
				out.NofailLines = slices.Clone(conn.nofailMatches)
			}
		}
		r.Failures = append(r.Failures, out)
	}
	switch {
	case !identified:
		conn.waits()
	case !conn.nofail:
		conn.told()
	}
}

// user is whom the connection has tried last, and whether others, too, or more than is known of his
// name.
func (c *connection) user() (name string, unsure bool) {
	n := len(c.users)
	if n == 0 {
		return "", false
	}
	return c.users[n-1], n > 1 || len(c.users[n-1]) == userMost
}

// login tells of a login. Behind a proxy it is the client's, or nobody's.
func (f *Filter) login(who *identity, user string, unsure bool, line *found, r *Result) {
	var of Failure
	withheld := len(r.Withheld)
	if f.identify(&of, who, true) && !f.viaProxy(&of, line, r) {
		of.Addr, of.IP = netip.Prefix{}, netip.Addr{}
		r.Withheld = r.Withheld[:withheld] // that is said of failures
	}
	if of.IP.IsValid() {
		of.Addr = netip.PrefixFrom(of.IP, of.IP.BitLen())
	}
	r.Logins = append(r.Logins, Login{of.Addr, user, unsure})
}

// clock is the time by which connections are forgotten: that of the line.
func (f *Filter) clock(r *Result) time.Time {
	if r.Time.IsZero() {
		return f.last
	}
	return r.Time
}

// identify finds whose failure it is.
func (f *Filter) identify(out *Failure, who *identity, tied bool) bool {
	raw := f.RawHosts || f.dns == DNSRaw
	for _, ip := range []*value{&who.ip4, &who.ip6} {
		if !ip.ok {
			continue
		}
		bits := -1
		if who.cidr.text != "" {
			bits, _ = strconv.Atoi(who.cidr.text)
		}
		addr := prefixOf(ip.text, bits)
		if who.fid.ok && who.fid.text != ip.text {
			if addr.IsValid() {
				out.IP = addr.Addr()
			}
			// A network, if the expression names one and this is it.
			out.setID(who.fid.text, raw, who.cidr.text != "" && who.fid.text == ip.text+"/"+who.cidr.text)
			return true
		}
		out.Addr = addr
		switch {
		case addr.IsValid():
			out.ID = name(addr)
		case bits >= 0:
			out.ID = ip.text + "/" + strconv.Itoa(bits)
		default:
			out.ID = strings.Clone(ip.text)
		}
		return true
	}
	if who.dns.ok {
		dns := strings.Clone(who.dns.text)
		if !raw {
			out.ID = dns
			if out.Addr = ParseID(dns, -1); !out.Addr.IsValid() {
				out.Name = true
			}
			return true
		}
		if who.fid.ok && who.fid.text != dns {
			dns = strings.Clone(who.fid.text)
		}
		out.ID, out.Free = dns, true
		return true
	}
	if !who.fid.ok || who.fid.text == "" && tied {
		return false
	}
	out.setID(who.fid.text, raw, false)
	return true
}

// setID takes a text that identifies; where it is an address, in its usual form. It is
// a network only where the expression says so: else whoever may choose the text (a user
// name) would choose who is banned.
func (out *Failure) setID(id string, raw, network bool) {
	out.ID, out.Free = strings.Clone(id), true
	if raw {
		return
	}
	bits := -1
	if strings.Contains(id, "/") {
		bits = 0
	}
	p := ParseID(id, bits)
	if !p.IsValid() {
		return
	}
	out.ID = name(p)
	if bits < 0 || network && !iplist.TooWide(p) {
		out.Addr = p
	}
}

// prefixOf reads an address with the length of its network, -1 for one address. A
// network that is too wide to be banned by a line is none.
func prefixOf(text string, bits int) netip.Prefix {
	if bits < 0 {
		return ParseID(text, -1)
	}
	if bits > 32 && !strings.Contains(text, ":") {
		bits -= 96 // of IPv4 written as IPv6; the tags leave its beginning out
	}
	p := ParseID(text+"/"+strconv.Itoa(bits), 0)
	if p.IsValid() && iplist.TooWide(p) {
		return netip.Prefix{}
	}
	return p
}

func name(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// ParseID reads an address, or a network if bits is not -1. IPv4 addresses
// written as IPv6 are taken as IPv4. The result is not valid if it is none.
func ParseID(id string, bits int) netip.Prefix {
	if bits < 0 && strings.Contains(id, "/") {
		return netip.Prefix{}
	}
	p, err := iplist.Parse(id)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

package filter

import (
	"slices"
	"strings"
	"time"
	"unsafe"

	"bailiff/pkg/chain"
)

// A connection writes several lines, which its id (F-MLFID) ties together: one
// tells the address, another that a login failed, a third that it succeeded after
// all. What is known of connections is kept for a while and merged line by line.
//
// The tags that decide: F-NOFAIL marks a line that is no failure by itself,
// F-MLFGAINED one that tells of a success, F-MLFFORGET one after which the
// connection is over.
type connection struct {
	chain.Links[connection] // in connections.order

	id      string
	ends    time.Time
	size    int // bytes, as far as others choose them
	counted int // of those, what connections has counted

	who            identity
	nofail, gained bool
	users          []string
	matches        []Line // lines that failures are made of
	nofailMatches  []Line // lines that will be, if a failure comes
	fresh          int    // the last ones of matches, which are not the connection's own yet
	pending        bool   // failed, and nobody knows yet who
	listed         bool   // it is in connections.byID
	attempts       attempts

	// With DetailAll.
	groups Groups
	order  []string // names of the groups, as they came, and of what else fail2ban keeps beside them
}

// value is the text of a group, and whether it took part.
type value struct {
	text string
	ok   bool
}

// identity is what says whose failure it is.
type identity struct{ fid, ip4, ip6, cidr, dns value }

// found is what a line's groups say. Its texts are valid until the next line, unless
// they stay or are cloned.
type found struct {
	stays                  bool
	who                    identity
	mlfid, user            value
	chain, forwarded       value // X-Forwarded-For, in place of the address or beside it
	nofail, gained, forget bool  // hold something
	// With DetailAll.
	groups Groups
	order  []string
}

// merge puts what a line says to what is known of its connection. One that is over is
// not known any more when it is settled.
func (c *connections) merge(line *found, lines []Line, now time.Time) (conn *connection) {
	gained := line.gained
	nofail := line.nofail || gained
	forget := line.forget
	line.drop("mlfforget")
	if gained && !line.nofail && line.groups != nil {
		line.groups["nofail"] = line.groups["mlfgained"]
		line.order = append(slices.Clone(line.order), "nofail")
	}
	line.nofail = nofail
	conn = c.get(line.mlfid.text, now)
	switch {
	case conn != nil:
		c.renew(conn, now)
		conn.addUser(line)
		wasNofail := conn.nofail || conn.gained
		conn.drop("nofail")
		conn.drop("mlfgained")
		conn.nofail, conn.gained = false, false
		if gained {
			conn.setPending(false)
		}
		if !wasNofail && !conn.pending {
			conn.told()
		}
		conn.take(line)
		if forget {
			c.forget(conn)
		}
	case forget:
		conn = c.fresh()
		conn.take(line)
	default:
		conn = c.add(line.kept(line.mlfid.text), now)
		conn.take(line)
		conn.addUser(line)
	}
	// Failures that wait for their address, and several users on one connection,
	// count whatever this line says.
	if conn.pending || len(conn.users) > 1 {
		conn.setPending(false)
		conn.drop("nofail")
		conn.drop("mlfgained")
		conn.nofail, conn.gained = false, false
		nofail = false
	}
	switch {
	case !nofail:
		if len(conn.nofailMatches) > 0 {
			conn.matches = append(slices.Clone(conn.nofailMatches), conn.matches...)
			conn.nofailMatches = emptied(conn.nofailMatches)
		}
		conn.matches, conn.fresh = append(conn.matches, lines...), len(lines)
		conn.drop(orderNofail)
	case !forget:
		conn.nofailMatches = conn.keep(conn.nofailMatches, lines)
		conn.note(orderNofail)
	}
	return conn
}

// take takes over the groups of a line.
func (c *connection) take(line *found) {
	c.size += c.who.take(line)
	c.nofail, c.gained = line.nofail, line.gained
	if line.groups == nil {
		return
	}
	if c.groups == nil {
		c.groups, c.order = line.groups, line.order
		for _, v := range c.groups {
			c.size += groupSize(v)
		}
		return
	}
	for _, k := range line.order {
		if v, ok := line.groups[k]; ok {
			c.size += groupSize(v) - groupSize(c.groups[k])
			c.groups[k] = v
			if !slices.Contains(c.order, k) {
				c.order = append(c.order, k)
			}
		}
	}
}

// take takes over what a line says, and returns how many bytes that makes more.
func (w *identity) take(line *found) (more int) {
	return w.fid.take(line, &line.who.fid) + w.ip4.take(line, &line.who.ip4) + w.ip6.take(line, &line.who.ip6) +
		w.cidr.take(line, &line.who.cidr) + w.dns.take(line, &line.who.dns)
}

func (v *value) take(line *found, other *value) (more int) {
	if other.ok && (!v.ok || v.text != other.text) {
		more = len(other.text) - len(v.text)
		v.ok, v.text = true, line.kept(other.text)
	}
	return more
}

// kept is a text of the line that stays.
func (f *found) kept(text string) string {
	if f.stays {
		return text
	}
	return strings.Clone(text)
}

// drop takes a group away.
func (c *connection) drop(name string) {
	c.size -= groupSize(c.groups[name])
	c.groups, c.order = dropped(c.groups, c.order, name)
}

func (f *found) drop(name string) { f.groups, f.order = dropped(f.groups, f.order, name) }

func dropped(groups Groups, order []string, name string) (Groups, []string) {
	delete(groups, name)
	if i := slices.Index(order, name); i >= 0 {
		order = slices.Delete(slices.Clone(order), i, i+1)
	}
	return groups, order
}

func (c *connection) addUser(line *found) {
	user := line.user.text
	if user == "" {
		return
	}
	// That there are several is what counts; who they were, is told as far as it goes.
	user = user[:min(len(user), userMost)]
	if len(c.users) < usersMost && !slices.Contains(c.users, user) {
		c.users = append(c.users, line.kept(user))
		c.size += len(user)
	}
	c.note(orderUsers)
}

// Names in the order of groups that stand for what is no group: fail2ban keeps
// them in one dict, and prints it.
const (
	orderUsers   = "users"
	orderNofail  = "nofail-matches"
	orderPending = "mlfpending"
	orderIP      = "ip"
)

// note puts a name behind the others, if it is not there yet.
func (c *connection) note(name string) {
	if c.groups != nil && !slices.Contains(c.order, name) {
		c.order = append(slices.Clone(c.order), name)
	}
}

func (c *connection) setPending(pending bool) {
	c.pending = pending
	if pending {
		c.note(orderPending)
	} else {
		c.drop(orderPending)
	}
}

// names are the groups that found asks for, in its order.
var names = [...]string{"fid", "ip4", "ip6", "cidr", "dns", "mlfid", "user", "nofail", "mlfgained", "mlfforget", "chain", "forwarded"}

// places are where an expression has these groups; 0: nowhere.
type places [len(names)]int

// alternative is a group (<F-ALT_NAME>) that stands for another one where that holds
// nothing.
type alternative = named

// named is a group by its number among names.
type named struct{ name, group int }

// look reads the groups of a match. pre is what the prefregex found around it, nil
// if there is none; what the failregex found comes before that.
func (line *found) look(pref, x *expression, m []int, text []byte, pre *prefix) {
	*line = found{}
	if pre != nil {
		line.put(pref, pre.m, pre.text)
	}
	line.put(x, m, text)
}

// put puts what took part in a match over what is there.
func (line *found) put(x *expression, m []int, text []byte) {
	for _, p := range x.held {
		if g := p.group; m[2*g] >= 0 {
			line.set(p.name, view(text[m[2*g]:m[2*g+1]]))
		}
	}
	for _, a := range x.alternatives {
		own := x.places[a.name]
		if m[2*a.group] < 0 || m[2*a.group+1] == m[2*a.group] || own > 0 && m[2*own] >= 0 && m[2*own+1] > m[2*own] {
			continue
		}
		if earlier := x.alternativeOf(a, m); earlier {
			continue
		}
		line.set(a.name, view(text[m[2*a.group]:m[2*a.group+1]]))
	}
}

// set sets what a group holds, which has that number among names.
func (line *found) set(name int, text string) {
	switch name {
	case 0:
		line.who.fid = value{text, true}
	case 1:
		line.who.ip4 = value{text, true}
	case 2:
		line.who.ip6 = value{text, true}
	case 3:
		line.who.cidr = value{text, true}
	case 4:
		line.who.dns = value{text, true}
	case 5:
		line.mlfid = value{text, true}
	case 6:
		line.user = value{text, true}
	case 7:
		line.nofail = text != ""
	case 8:
		line.gained = text != ""
	case 9:
		line.forget = text != ""
	case 10:
		line.chain = value{text, true}
	case 11:
		line.forwarded = value{text, true}
	}
}

// alternativeOf reports whether an alternative before a one has given a value.
func (x *expression) alternativeOf(a alternative, m []int) bool {
	for _, b := range x.alternatives {
		if b == a {
			return false
		}
		if b.name == a.name && m[2*b.group] >= 0 && m[2*b.group+1] > m[2*b.group] {
			return true
		}
	}
	return false
}

// lookIn is look for groups that are written out already.
func lookIn(groups Groups, order []string) found {
	var line found
	for i, n := range names {
		if text, ok := groups.Text(n); ok {
			line.set(i, text)
		}
	}
	line.groups, line.order = groups, order
	return line
}

// view is a text that is not copied.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// prefix is what a prefregex found.
type prefix struct {
	m      []int
	text   []byte
	groups Groups // with DetailAll
}

package filter

import (
	"container/list"
	"slices"
	"time"
)

// A connection writes several lines, which its id (F-MLFID) ties together: one
// tells the address, another that a login failed, a third that it succeeded after
// all. What is known of connections is kept for a while and merged line by line.
//
// The tags that decide: F-NOFAIL marks a line that is no failure by itself,
// F-MLFGAINED one that tells of a success, F-MLFFORGET one after which the
// connection is over.
type connection struct {
	groups        Groups
	order         []string // names of the groups, as they came, and of what else fail2ban keeps beside them
	users         []string
	matches       []Line // lines that failures are made of
	nofailMatches []Line // lines that will be, if a failure comes
	pending       bool   // failed, and nobody knows yet who
}

const (
	maxConnections = 100
	connectionAge  = 5 * time.Minute
)

// connections are the connections known, the oldest first.
type connections struct {
	byID  map[string]*list.Element
	order list.List
}

type kept struct {
	id   string
	conn *connection
	ends time.Time
}

func (c *connections) get(id string, now time.Time) *connection {
	e := c.byID[id]
	if e == nil {
		return nil
	}
	k := e.Value.(*kept)
	if !k.ends.After(now) {
		c.forget(id)
		return nil
	}
	return k.conn
}

func (c *connections) set(id string, conn *connection, now time.Time) {
	if c.byID == nil {
		c.byID = map[string]*list.Element{}
	}
	for len(c.byID) >= maxConnections {
		c.forget(c.order.Front().Value.(*kept).id)
	}
	c.byID[id] = c.order.PushBack(&kept{id, conn, now.Add(connectionAge)})
}

func (c *connections) forget(id string) {
	if e := c.byID[id]; e != nil {
		c.order.Remove(e)
		delete(c.byID, id)
	}
}

// merge puts what a line says to what is known of its connection.
func (c *connections) merge(id string, line *connection, lines []Line, now time.Time) *connection {
	gained := has(line.groups, "mlfgained")
	nofail := has(line.groups, "nofail") || gained
	forget := has(line.groups, "mlfforget")
	line.drop("mlfforget")
	if gained && !has(line.groups, "nofail") {
		line.groups["nofail"] = line.groups["mlfgained"]
		line.order = append(slices.Clone(line.order), "nofail")
	}
	user, _ := line.groups.Text("user")
	conn := c.get(id, now)
	switch {
	case conn != nil:
		conn.addUser(user)
		wasNofail := has(conn.groups, "nofail") || has(conn.groups, "mlfgained")
		conn.drop("nofail")
		conn.drop("mlfgained")
		if gained {
			conn.setPending(false)
		}
		if !wasNofail && !conn.pending {
			conn.matches = nil // they were told already
		}
		for _, k := range line.order {
			if v, ok := line.groups[k]; ok {
				conn.groups[k] = v
				if !slices.Contains(conn.order, k) {
					conn.order = append(conn.order, k)
				}
			}
		}
		if forget {
			c.forget(id)
		}
	case forget:
		conn = line
	default:
		conn = line
		conn.addUser(user)
		c.set(id, conn, now)
	}
	// Failures that wait for their address, and several users on one connection,
	// count whatever this line says.
	if conn.pending || len(conn.users) > 1 {
		conn.setPending(false)
		conn.drop("nofail")
		conn.drop("mlfgained")
		nofail, gained = false, false
	}
	switch {
	case !nofail:
		all := append(slices.Clone(conn.nofailMatches), conn.matches...)
		if !gained {
			all = append(all, lines...)
		}
		conn.matches, conn.nofailMatches = all, nil
		conn.drop(orderNofail)
	case !forget:
		conn.nofailMatches = append(conn.nofailMatches, lines...)
		conn.note(orderNofail)
	}
	return conn
}

// drop takes a group away.
func (c *connection) drop(name string) {
	delete(c.groups, name)
	if i := slices.Index(c.order, name); i >= 0 {
		c.order = slices.Delete(slices.Clone(c.order), i, i+1)
	}
}

func (c *connection) addUser(user string) {
	if user == "" {
		return
	}
	if !slices.Contains(c.users, user) {
		c.users = append(c.users, user)
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
	if !slices.Contains(c.order, name) {
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

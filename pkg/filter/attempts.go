package filter

// attempts tells lines of a connection that are about an attempt of which another line has
// told already from those about one more (Definition.Attempts). OpenSSH writes "Invalid
// user" and "Failed password" for one guess, and "maximum authentication attempts
// exceeded" for none. Which expression matches says what kind a line is of: what a service
// writes once for each attempt is counted so often; what it writes once for a connection,
// only if it wrote nothing else. So no order of lines matters, nor which of the kinds a
// version of the service leaves out.
type attempts struct {
	id   string // whose they are
	by   []tries
	most int // of by
}

// tries is how often an expression matched.
type tries struct{ regex, times int }

// another notes that an expression found somebody's failure, and reports whether it is one
// more than those that were counted.
func (a *attempts) another(regex int, id string) bool {
	if a.id != id { // another connection with the same id
		a.id, a.most, a.by = id, 0, a.by[:0]
	}
	i := 0
	for i < len(a.by) && a.by[i].regex != regex {
		i++
	}
	if i == len(a.by) {
		a.by = append(a.by, tries{regex: regex})
	}
	a.by[i].times++
	if a.by[i].times <= a.most {
		return false
	}
	a.most = a.by[i].times
	return true
}

// some reports whether a line says itself who it is about.
func (w *identity) some() bool { return w.fid.ok || w.ip4.ok || w.ip6.ok || w.dns.ok }

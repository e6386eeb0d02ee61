package ban

// Watcher is told which addresses and networks a list's bans shut out, by the goroutine that
// owns the list. It must not wait for anything.
type Watcher interface {
	// Shut says that somebody is shut out from now on; it may be told twice.
	Shut(ID)
	// Let says that no ban shuts him out any more. A wider network may.
	Let(ID)
}

// Watch has w told who is shut out: at once of all who are, and of each who comes and goes
// later. Nobody who stays shut out is let in between. Who was told before is not any more; nil: nobody is.
func (l *List) Watch(w Watcher) {
	l.watch = w
	if w == nil {
		return
	}
	for n := range l.table.all {
		b := l.table.ban(n)
		if e := b.Element(); e.IsValid() {
			w.Shut(e)
		}
	}
}

// tellAdded tells of a ban that was put on the list, in the place of an old one if held.
func (l *List) tellAdded(b, old Ban, held bool) {
	e := b.Element()
	if e.IsValid() {
		l.watch.Shut(e)
	}
	if held && old.Element() != e {
		l.tellRemoved(old)
	}
}

// tellRemoved tells of a ban that was taken off. Another one may shut out the same address.
func (l *List) tellRemoved(b Ban) {
	e := b.Element()
	if !e.IsValid() {
		return
	}
	if _, still := l.Holder(e); !still {
		l.watch.Let(e)
	}
}

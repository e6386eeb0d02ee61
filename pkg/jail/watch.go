package jail

import "bailiff/pkg/ban"

// Watch has a watcher told who is shut out, from the moment on at which the jail's goroutine
// comes to it, of all who are by then first; the watcher is asked by that goroutine, or by that of the jail
// that takes the place of this one before it has come to it. nil: nobody is told any more. done is called
// when all have been told. What is returned is closed after that, or when the jail has ended.
func (j *Jail) Watch(w ban.Watcher, done func()) <-chan struct{} {
	o := &order{ran: make(chan struct{}), do: func(j *Jail) {
		j.bans.Watch(w)
		done()
	}}
	if err := j.inbox.post(o, false); err != nil {
		close(o.ran)
	}
	return o.ran
}

package jail

import "bailiff/pkg/fair"

// rush is when a log tells of many who are to be banned at once: they come to the kernel
// before anything is written of them, and with more of them than a few there is a second
// core, since the kernel's queue and the log have as much to do as the jail.
type rush struct {
	bans   int    // of the lines at work
	urgent func() // nil: it is not
	spare  func() // nil: there is none
}

// rushBans is how many bans of the lines at work are more than a few.
const rushBans = 500

// banned notes one more ban.
func (r *rush) banned() {
	switch r.bans++; r.bans {
	case 1:
		r.urgent = fair.Urgent()
	case rushBans:
		r.spare = fair.Spare()
	}
}

// over ends it, with the lines.
func (r *rush) over() {
	if r.urgent != nil {
		r.urgent()
	}
	if r.spare != nil {
		r.spare()
	}
	*r = rush{}
}

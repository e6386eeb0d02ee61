package jail

import (
	"sync/atomic"
	"time"

	"bailiff/pkg/action"
)

// acting is what actions are told.
type acting struct {
	actions    *action.Group
	site       *action.Site
	maxMatches atomic.Int64 // deps.MaxMatches, for the actions' goroutines
	checkedAt  time.Time    // when the actions' environments were last looked at
	reading    bool         // a piece
	untold     []act        // of it
}

// What a piece of a log leads to, actions are told at its end: they tell of the jail's
// numbers, and those of the lines that came together count for all of them. The kernel and the
// database don't wait for that.

// act is what actions are told of: one of its fields.
type act struct {
	ban, prolong *action.Ticket
	unban        string
}

// acts tells actions of something, or keeps it until the end of the piece.
func (j *Jail) acts(a act) {
	if j.reading {
		if j.actions.Empty() {
			return
		}
		j.untold = append(j.untold, a)
		return
	}
	j.publish()
	j.act(a)
}

func (j *Jail) act(a act) {
	switch {
	case a.prolong != nil:
		j.actions.Prolong(a.prolong)
	case a.unban != "":
		j.actions.Unban(a.unban)
	default:
		j.actions.Ban(a.ban)
	}
}

// pieceRead ends a piece.
func (j *Jail) pieceRead() {
	j.reading = false
	j.publish()
	for i, a := range j.untold {
		j.act(a)
		j.untold[i] = act{}
	}
	if j.untold = j.untold[:0]; cap(j.untold) > 1000 {
		j.untold = nil
	}
}

package jail

import (
	"errors"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/fair"
)

// piecePatience is how long who goes through a jail's bans waits for a piece of them.
const piecePatience = time.Second

// EachBan calls f with the bans on the list, by the wall clock, some at a time, with back from those that came
// last to the first; f does not keep the
// rows. Nil says that all begins anew, since the jail was started anew. The jail's goroutine does no more than copy
// ban.RowsMost of them at a time, and does other things in between, so those that come or go
// meanwhile may be told or not; the others are told once. f is called by the caller's goroutine, and
// ends it by returning false. The error may be a *BusyError. A jail that only observes has a list of
// those it would ban.
func (j *Jail) EachBan(back bool, f func(*ban.Rows) bool) error {
	const again = 3 // the jail may be started anew meanwhile, with another list
	for try := 1; ; try++ {
		err := j.eachBan(back, try > 1, f)
		if !errors.Is(err, errReplaced) || try == again {
			return err
		}
	}
}

// eachBan tells, the second time, that all begins anew.
func (j *Jail) eachBan(back, anew bool, f func(*ban.Rows) bool) error {
	if anew && !f(nil) {
		return nil
	}
	turn := fair.Turn{Behind: true}
	var list *ban.List
	rows := &ban.Rows{Offset: j.deps.Clock.Offset(), Back: back}
	for at, first := int32(0), true; first || at != 0; first = false {
		type piece struct {
			next int32
			of   *ban.List
		}
		from, was := at, list
		got, err := ask(j, piecePatience, func(now *Jail) piece {
			if was != nil && now.bans != was {
				return piece{}
			}
			return piece{now.bans.Rows(from, rows), now.bans}
		})
		if err != nil {
			return err // it may come to it when nobody waits any more: the rows are its own then
		}
		if got.of == nil {
			return errReplaced
		}
		list, at = got.of, got.next
		if !f(rows) {
			return nil
		}
		turn.Step()
	}
	return nil
}

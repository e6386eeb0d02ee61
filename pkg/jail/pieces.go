package jail

import (
	"errors"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/fair"
)

// piecePatience is how long who goes through a jail's bans waits for a piece of them.
const piecePatience = time.Second

// EachBan calls f with the bans on the list, by the wall clock, some hundred at a time; f may change them
// and not keep the slice. A nil piece says that all begins anew, since the jail was started anew. The jail's goroutine is asked for each piece by itself, and does other
// things in between, so those that come or go meanwhile may be told or not; the others are told
// once. f is called by the caller's goroutine, and ends it by returning false. The error may be a
// *BusyError. A jail that only observes has a list of those it would ban.
func (j *Jail) EachBan(f func([]ban.Ban) bool) error {
	const again = 3 // the jail may be started anew meanwhile, with another list
	for try := 1; ; try++ {
		err := j.eachBan(f, try > 1)
		if !errors.Is(err, errReplaced) || try == again {
			return err
		}
	}
}

// eachBan tells, the second time, that all begins anew, by a piece that is nil.
func (j *Jail) eachBan(f func([]ban.Ban) bool, anew bool) error {
	if anew && !f(nil) {
		return nil
	}
	offset := j.deps.Clock.Offset()
	turn := fair.Turn{Behind: true}
	var list *ban.List
	buf := make([]ban.Ban, 0, slice)
	for at, first := int32(0), true; first || at != 0; first = false {
		// It may come to it when nobody waits any more: what it writes to is its own then.
		type piece struct {
			bans []ban.Ban
			next int32
			of   *ban.List
		}
		from, into, was := at, buf[:0], list
		got, err := ask(j, piecePatience, func(now *Jail) piece {
			if was != nil && now.bans != was {
				return piece{}
			}
			bans, next := now.bans.Piece(from, slice, into)
			return piece{bans, next, now.bans}
		})
		if err != nil {
			return err
		}
		if got.of == nil {
			return errReplaced
		}
		list, at = got.of, got.next
		for i := range got.bans {
			b := &got.bans[i]
			b.Start = b.Start.Add(offset)
			if !b.Permanent() {
				b.End = b.End.Add(offset)
			}
		}
		if !f(got.bans) {
			return nil
		}
		turn.Step()
	}
	return nil
}

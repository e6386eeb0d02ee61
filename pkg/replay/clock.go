package replay

import "time"

// lineClock is the clock of a log: the time of the newest line so far.
type lineClock struct {
	now   time.Time
	limit time.Time // no line of the file is of later; zero: that is not known
	said  time.Time // what the last line that was said
	far   bool      // that was beyond the limit
}

// slack is how much later than its file was written to last a line may be.
const slack = time.Minute

// begin begins a file that was written to last at a time.
func (c *lineClock) begin(written time.Time) { c.limit = written.Add(slack) }

// at is when a line was that says it is of a time, or of none. The clock goes on to that.
func (c *lineClock) at(says time.Time) time.Time {
	c.said, c.far = says, false
	switch {
	case says.IsZero():
		return c.now
	case says.After(c.limit) && !c.now.IsZero():
		c.far = true
		return c.now
	case says.After(c.now):
		if says.Sub(c.now) >= step && !c.now.IsZero() {
			says = c.told(says)
		}
		c.now = says
		return says
	case c.now.Sub(says) <= slack:
		return says
	}
	if says = c.told(says); says.After(c.now) {
		c.now = says
	}
	return says
}

// step is the least by which local time is set back.
const step = 30 * time.Minute

// told is when it was, by the clock, that local time read so: where it has been set back, as in
// autumn, it did so twice.
func (c *lineClock) told(says time.Time) time.Time {
	_, here := says.Zone()
	for _, near := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		_, there := says.Add(near).Zone()
		if there == here {
			continue
		}
		other := says.Add(time.Duration(here-there) * time.Second)
		if _, is := other.Zone(); is != there {
			continue // it read so once
		}
		first, second := says, other
		if other.Before(says) {
			first, second = other, says
		}
		if first.Before(c.now.Add(-slack)) {
			return second
		}
		return first
	}
	return says
}

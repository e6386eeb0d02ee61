// Package clock keeps two times apart: what the wall clock says, and a steady time
// that never steps.
//
// A wall clock is set: by hand, by NTP after a boot with a wrong RTC, when a virtual
// machine is restored. Whatever lasts, a ban, a window of failures, must not be
// measured by it. The steady time is a time.Time that equals the wall time when the
// program starts and from then on advances by CLOCK_BOOTTIME, which runs in suspend,
// too, and can't be set. What is said to people or to other programs, and what a line
// of a log says, is wall time; ToWall and FromWall go from one to the other.
//
//	c := clock.System()
//	end := c.Now().Add(time.Hour)             // an hour, whatever is done to the clock
//	fmt.Println("until", c.ToWall(end))       // as the clock on the wall will say
//	go c.Watch(ctx, func(s clock.Step) { … }) // told when it is set
//
// Between the two lies the offset. It is a whole number of seconds and changes only
// when the clock was set by most of a second: so a time that was read from a line,
// taken to the steady time and told again is the same to the microsecond, and is the
// same in a database that knows whole seconds.
package clock

import (
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Noticed is the least step that Watch tells of. NTP slews what is less than an
	// eighth of a second and steps what is more.
	Noticed = 250 * time.Millisecond
	// follow is how far off the wall clock the offset may be before it follows: more
	// than half a second, so that it does not waver between two values.
	follow = 750 * time.Millisecond
	// apart is how long two looks at the wall clock may lie apart for what was read
	// between them to belong to both: the program may be stopped between two reads.
	apart = 20 * time.Millisecond
)

// Clock tells both times. It is safe for concurrent use.
type Clock struct {
	source Source
	boot   string
	base   time.Time     // the steady time at boottime 0
	zero   time.Duration // the wall clock's distance from boottime, in ns since 1970, at the beginning

	offset atomic.Int64 // wall less steady: whole seconds, in nanoseconds
	mu     sync.Mutex   // held while offset changes
}

// Source is where a clock's times come from.
type Source interface {
	// Wall is the wall clock.
	Wall() time.Time
	// Boottime is the time since the boot, with what was spent in suspend.
	Boottime() time.Duration
	// Monotonic is Boottime without the time spent in suspend: the kernel's own timers,
	// of elements of sets too, run by it.
	Monotonic() time.Duration
}

// New makes a clock of a source. boot tells this boot of the machine from others.
func New(s Source, boot string) *Clock {
	c := &Clock{source: s, boot: boot}
	wall, boottime := c.both()
	c.base = wall.Add(-boottime)
	c.zero = time.Duration(c.base.UnixNano())
	return c
}

var system = sync.OnceValue(func() *Clock {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		id = nil // another boot each time: the wall clock counts then
	}
	boot := strings.TrimSpace(string(id))
	// In a time namespace boottime begins elsewhere.
	offsets, _ := os.ReadFile("/proc/self/timens_offsets")
	for line := range strings.Lines(string(offsets)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "boottime" && boot != "" && (f[1] != "0" || f[2] != "0") {
			boot += " " + f[1] + "." + f[2]
		}
	}
	return New(systemSource(), boot)
})

// System is the machine's clock, the same one at each call.
func System() *Clock { return system() }

// both reads the two clocks at one moment.
func (c *Clock) both() (wall time.Time, boottime time.Duration) {
	for range 100 {
		before := c.source.Wall()
		boottime = c.source.Boottime()
		wall = c.source.Wall()
		if d := wall.Sub(before); d >= 0 && d < apart {
			break
		}
	}
	return wall.Round(0), boottime
}

// Reading is both times at one moment.
type Reading struct {
	Wall, Steady time.Time
}

// Age is how long before the reading a wall time was; never negative.
func (r Reading) Age(wall time.Time) time.Duration { return max(r.Wall.Sub(wall), 0) }

// At is the steady time of a wall time before the reading; the reading's own for one
// ahead of it.
func (r Reading) At(wall time.Time) time.Time { return r.Steady.Add(-r.Age(wall)) }

// Read returns both times. They lie exactly the offset apart.
func (c *Clock) Read() Reading {
	offset, steady := c.look()
	return Reading{steady.Add(offset), steady}
}

// look follows the wall clock and returns the offset with the steady time.
func (c *Clock) look() (time.Duration, time.Time) {
	wall, boottime := c.source.Wall(), c.source.Boottime()
	steady := c.base.Add(boottime)
	offset := time.Duration(c.offset.Load())
	if off := wall.Round(0).Sub(steady) - offset; off < follow && off > -follow {
		return offset, steady
	}
	// It was set, or this program was stopped between the two reads.
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, boottime = c.both()
	steady = c.base.Add(boottime)
	offset = time.Duration(c.offset.Load())
	if off := wall.Sub(steady) - offset; off >= follow || off <= -follow {
		offset += off.Round(time.Second)
		c.offset.Store(int64(offset))
	}
	return offset, steady
}

// Now returns the steady time.
func (c *Clock) Now() time.Time { return c.base.Add(c.source.Boottime()) }

// Wall returns the wall clock's time, less than a second off where it was set by
// less than that.
func (c *Clock) Wall() time.Time { return c.Read().Wall }

// Offset is the wall clock's distance from the steady time, in whole seconds.
func (c *Clock) Offset() time.Duration {
	offset, _ := c.look()
	return offset
}

// ToWall says what the wall clock shows, or showed if it had always been set as it is
// now, at a steady time. The zero time stays what it is.
func (c *Clock) ToWall(steady time.Time) time.Time {
	if steady.IsZero() {
		return steady
	}
	return steady.Add(c.Offset())
}

// FromWall is the inverse of ToWall.
func (c *Clock) FromWall(wall time.Time) time.Time {
	if wall.IsZero() {
		return wall
	}
	return wall.Add(-c.Offset())
}

// Suspended is how long the machine was suspended since its boot: by that much the
// kernel's timers are behind.
func (c *Clock) Suspended() time.Duration {
	// Monotonic last: what passes between the two must not count as suspend.
	b := c.source.Boottime()
	return max(b-c.source.Monotonic(), 0)
}

// Boot names this boot of the machine, and zero is the wall time, in nanoseconds since
// 1970, at which this boot began by the clock as it was when the program started;
// with Offset added it is that by the clock as it is now. The name is empty if the
// system does not tell.
func (c *Clock) Boot() (id string, zero time.Duration) { return c.boot, c.zero }

type kernelSource struct{}

func (kernelSource) Wall() time.Time          { return time.Now() }
func (kernelSource) Boottime() time.Duration  { return read(unix.CLOCK_BOOTTIME) }
func (kernelSource) Monotonic() time.Duration { return read(unix.CLOCK_MONOTONIC) }

func read(id int32) time.Duration {
	var t unix.Timespec
	// It fails for clocks only that a kernel before 2.6.39 does not know.
	_ = unix.ClockGettime(id, &t)
	return time.Duration(t.Nano())
}

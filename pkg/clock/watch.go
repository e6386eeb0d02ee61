package clock

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Step is what happened to a clock.
type Step struct {
	// By is how much the wall clock was set forward; negative: back. 0: it was not.
	By time.Duration
	// Suspended is how long the machine was suspended. The kernel's timers are behind by
	// that.
	Suspended time.Duration
}

// Told says by how much a clock was set, as in "the clock was …".
func Told(by time.Duration) string {
	how := "set forward"
	if by < 0 {
		how = "set back"
	}
	exact := time.Millisecond
	if by.Abs() >= time.Minute {
		exact = time.Second
	}
	return how + " by " + by.Abs().Round(exact).String()
}

// lookEvery is how often the clocks are compared where the kernel does not tell.
const lookEvery = 2 * time.Second

// Watch calls told for each step until ctx ends. The kernel tells when the clock was
// set and when the machine wakes up; where it does not, a step is found within two
// seconds.
func (c *Clock) Watch(ctx context.Context, told func(Step)) {
	stop := make(chan struct{})
	defer close(stop)
	set, err := clockSet(stop)
	if err != nil {
		set = nil
	}
	also := changed(stop)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	wall, boottime := c.both()
	was, slept := wall.Add(-boottime), c.Suspended()
	if d := wall.Sub(c.base.Add(boottime)); d.Abs() >= Noticed {
		was = c.base // set since the program started
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-set:
		case <-also:
		}
		wall, boottime := c.both()
		now, asleep := wall.Add(-boottime), c.Suspended()
		s := Step{By: now.Sub(was), Suspended: asleep - slept}
		if s.By.Abs() < Noticed {
			s.By = 0
		} else {
			was = now
		}
		if s.Suspended < Noticed {
			s.Suspended = 0
		} else {
			slept = asleep
		}
		if s != (Step{}) {
			c.Offset()
			told(s)
		}
	}
}

// clockSet returns a channel that has a value whenever the kernel says that the clock
// was set: a timer far in the future is cancelled then.
func clockSet(stop <-chan struct{}) (<-chan struct{}, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "timerfd")
	arm := func() error {
		conn, err := f.SyscallConn()
		if err != nil {
			return err
		}
		never := &unix.ItimerSpec{Value: unix.NsecToTimespec(1<<63 - 1)}
		err2 := conn.Control(func(fd uintptr) {
			err = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, never, nil)
		})
		return errors.Join(err, err2)
	}
	if err := arm(); err != nil {
		f.Close()
		return nil, err
	}
	out := make(chan struct{}, 1)
	go func() {
		<-stop
		f.Close()
	}()
	go func() {
		buf := make([]byte, 8)
		for {
			_, err := f.Read(buf)
			if err != nil && !errors.Is(err, unix.ECANCELED) {
				return
			}
			select {
			case out <- struct{}{}:
			default:
			}
			select {
			case <-stop:
				return
			default:
			}
			if arm() != nil {
				return
			}
		}
	}()
	return out, nil
}

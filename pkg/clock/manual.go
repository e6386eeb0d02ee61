package clock

import (
	"sync"
	"time"
)

// Manual is a source whose times a test moves, with the clock made of it.
type Manual struct {
	*Clock

	mu              sync.Mutex
	wall            time.Time
	boot, monotonic time.Duration
}

// NewManual makes one whose machine was booted an hour before a wall time.
func NewManual(wall time.Time) *Manual {
	m := &Manual{wall: wall, boot: time.Hour, monotonic: time.Hour}
	m.Clock = New((*manualSource)(m), "manual")
	return m
}

// Advance lets time pass.
func (m *Manual) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wall, m.boot, m.monotonic = m.wall.Add(d), m.boot+d, m.monotonic+d
}

// Set sets the wall clock by d.
func (m *Manual) Set(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wall = m.wall.Add(d)
}

// Suspend lets time pass in which the kernel's timers stand still.
func (m *Manual) Suspend(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wall, m.boot = m.wall.Add(d), m.boot+d
}

// Restart is the clock of another program on the same machine, or after a boot of that.
func (m *Manual) Restart(boot string) {
	m.mu.Lock()
	if boot != m.Clock.boot {
		m.boot, m.monotonic = time.Minute, time.Minute
	}
	m.mu.Unlock()
	m.Clock = New((*manualSource)(m), boot)
}

type manualSource Manual

func (m *manualSource) Wall() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wall
}

func (m *manualSource) Boottime() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.boot
}

func (m *manualSource) Monotonic() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.monotonic
}

// Monotonic is the time that the kernel's timers run by.
func (m *Manual) Monotonic() time.Duration { return (*manualSource)(m).Monotonic() }

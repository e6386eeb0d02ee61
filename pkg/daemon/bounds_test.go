package daemon

import (
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/store"
)

// TestFailuresTold: of commands of readers that fail, the log tells 30 in a minute; of the
// owner's, all.
func TestFailuresTold(t *testing.T) {
	var f failureLog
	told := func(role control.Role) (n int) {
		for range 1000 {
			if f.allow(role) {
				n++
			}
		}
		return n
	}
	if n := told(control.Owner); n != 1000 {
		t.Errorf("%d of the owner's are told", n)
	}
	if n := told(control.Reader); n != failuresAMinute {
		t.Errorf("%d are told, want %d", n, failuresAMinute)
	}
	f.since = f.since.Add(-2 * time.Minute)
	if n := told(control.Reader); n != failuresAMinute {
		t.Errorf("%d are told in the next minute, want %d", n, failuresAMinute)
	}
}

// TestQuestionsThatHang: of questions to a database that hangs no more are asked than may
// hang, and when it answers they are asked again.
func TestQuestionsThatHang(t *testing.T) {
	k := &keeper{log: slog.New(slog.NewTextHandler(io.Discard, nil)), asked: make(chan struct{}, askedMost)}
	answer := make(chan struct{})
	asked := make(chan struct{}, 100)
	ask := func() (func(), error) {
		asked <- struct{}{}
		<-answer
		return nil, nil
	}
	for i := range 10 * askedMost {
		if err := k.within(10*time.Millisecond, ask); !errors.Is(err, store.ErrSlow) {
			t.Fatalf("question %d: %v", i, err)
		}
	}
	if n := len(asked); n > askedMost || n == 0 {
		t.Errorf("%d questions hang, at most %d may", n, askedMost)
	}
	close(answer)
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		kept := false
		if err := k.within(20*time.Second, func() (func(), error) { return func() { kept = true }, nil }); err == nil && kept {
			break
		} else if time.Now().After(end) {
			t.Fatalf("it answers, and is not asked again: %v", err)
		}
	}
}

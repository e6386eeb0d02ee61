package daemon

import (
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"bailiff/pkg/store"
)

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

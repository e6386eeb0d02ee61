package fair

import (
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// TestGiveWay: on one core, who reads from a pipe comes to what was written to it each time
// when one who has much to do gives way, and after Gosched he doesn't: else there would be no
// need for this package.
func TestGiveWay(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var read atomic.Int32
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for b := make([]byte, 1); ; read.Add(1) {
			if _, err := in.Read(b); err != nil {
				return
			}
		}
	}()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); { // it waits for something to read
		GiveWay()
		if runtime.NumGoroutine() > 1 {
			break
		}
	}
	const times = 200
	came := func(give func()) (n int) {
		for range times {
			had := read.Load()
			if _, err := out.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			give()
			if read.Load() > had {
				n++
			}
			for read.Load() == had {
				GiveWay()
			}
		}
		return n
	}
	// Another program may keep the event on its way for a moment; not often.
	if n := came(GiveWay); n < times*9/10 {
		t.Errorf("of %d times that one gave way, the other one had his turn %d times", times, n)
	}
	t.Logf("after Gosched: %d of %d", came(runtime.Gosched), times)
	out.Close()
	<-ended
}

func TestTurn(t *testing.T) {
	var turn Turn
	if turn.Step() {
		t.Error("a turn that begins is over")
	}
	turn.began = turn.began.Add(-2 * Most)
	if !turn.Step() || turn.Ways() != 1 {
		t.Error("a turn that is over goes on")
	}
	turn.began = time.Now().Add(time.Hour)
	if turn.Step() {
		t.Error("a turn that has just begun is over")
	}
}

// TestBehind: what can wait does, after its turn, as long as somebody is urgent.
func TestBehind(t *testing.T) {
	turn := Turn{Behind: true, Most: 1}
	turn.Begin()
	done := Urgent()
	for range 5 {
		turn.Step()
	}
	if turn.Ways() != 5 || turn.Away() < 5*behindFor {
		t.Errorf("%d times given way, for %v", turn.Ways(), turn.Away())
	}
	done()
	done()
	if n := urgent.Load(); n != 0 {
		t.Errorf("%d are urgent", n)
	}
}

func BenchmarkStep(b *testing.B) {
	var turn Turn
	turn.Begin()
	for b.Loop() {
		turn.Step()
	}
}

func BenchmarkGiveWay(b *testing.B) {
	for b.Loop() {
		GiveWay()
	}
}

// TestTogether: many who give way at a time all go on.
func TestTogether(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	done := make(chan struct{})
	const many, times = 50, 200
	for range many {
		go func() {
			for range times {
				GiveWay()
			}
			done <- struct{}{}
		}()
	}
	for n := range many {
		select {
		case <-done:
		case <-time.After(2 * time.Minute):
			t.Fatalf("%d of %d went on", n, many)
		}
	}
}

package fair

import (
	"runtime"
	"testing"
	"time"
)

func TestSpare(t *testing.T) {
	had := runtime.GOMAXPROCS(0)
	Spare()()
	if n := runtime.GOMAXPROCS(0); n != had {
		t.Errorf("%d cores where nobody has said that it is to be one", n)
	}
	defer One()()
	a, b := Spare(), Spare()
	a()
	a()
	if n := runtime.GOMAXPROCS(0); n != 2 {
		t.Errorf("%d cores while one is spare", n)
	}
	b()
	c := Spare() // at once: there is no change
	oneAgain()   // late
	if n := runtime.GOMAXPROCS(0); n != 2 {
		t.Errorf("%d cores while one is spare again", n)
	}
	c()
	for end := time.Now().Add(10 * spareFor); runtime.GOMAXPROCS(0) != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the second core is never given back")
		}
	}
}

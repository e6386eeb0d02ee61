package jail

import (
	"fmt"
	"testing"
	"time"

	"bailiff/pkg/source"
)

// TestCountedLogs: however many logs come and go, a bounded number is counted one by one, and no line
// is lost.
func TestCountedLogs(t *testing.T) {
	j := &Jail{visible: visible{counters: &counters{}}}
	now := time.Unix(1_700_000_000, 0)
	for i := range 1000 {
		for range 2 {
			j.counters.batch(&source.Batch{Path: fmt.Sprintf("/log/%d", i), Lines: [][]byte{[]byte("one"), []byte("three")}}, now)
		}
	}
	n := j.Numbers()
	if len(n.Logs) != logsCounted+1 {
		t.Errorf("%d logs are counted", len(n.Logs))
	}
	lines, bytes := uint64(0), uint64(0)
	for _, l := range n.Logs {
		lines, bytes = lines+l.Lines, bytes+l.Bytes
		if !l.Last.Equal(now) {
			t.Errorf("%s: last line at %v", l.Path, l.Last)
		}
	}
	if lines != 4000 || bytes != 2000*(4+6) {
		t.Errorf("%d lines, %d bytes", lines, bytes)
	}
	if last := n.Logs[len(n.Logs)-1]; last.Path != OtherLogs || last.Lines != 4*(1000-logsCounted) {
		t.Errorf("others: %+v", last)
	}
}

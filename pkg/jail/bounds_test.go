package jail

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestManyCommands: of commands for a jail that is busy, so many wait and no more; the
// others are refused, which is said, and those that wait are carried out.
func TestManyCommands(t *testing.T) {
	l := start(t, nil)
	release, busy := make(chan struct{}), make(chan struct{})
	l.jail.inbox.tell(func(*Jail) { close(busy); <-release })
	<-busy
	before := patience
	patience = time.Microsecond
	defer func() { patience = before }()
	later, refused := 0, 0
	for i := range inboxMost + 50 {
		_, err := l.jail.Ban(single(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})), false)
		told, ok := err.(*BusyError)
		switch {
		case !ok:
			t.Fatalf("the %dth: %v", i, err)
		case told.Later:
			later++
		case strings.Contains(err.Error(), "1000 commands wait for it already"):
			refused++
		}
	}
	if later != inboxMost || refused != 50 {
		t.Errorf("%d wait, %d are refused", later, refused)
	}
	close(release)
	l.until(func() bool { return l.jail.Status(false).Banned == inboxMost })
}

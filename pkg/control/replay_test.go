package control

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestReplayAsked: what is asked comes to the daemon, over the socket and from within, with the log that is
// sent; who may only ask can't, and what nobody knows is refused.
func TestReplayAsked(t *testing.T) {
	_, path := listen(t)
	in := NewInside(&fake{}, func(string) {})
	defer in.Close()
	log := strings.Repeat("a line of a log\n", 1<<20) // four times what another body may be
	for what, c := range map[string]*Client{"socket": NewClient(path), "inside": in.Client(Caller{"anna", Operator})} {
		a, err := c.Replay(context.Background(), ReplayQuery{Jail: "sshd", Log: ReplayUpload, MaxRetry: "3,5", FindTime: "10m", BanTime: "-1", Upload: strings.NewReader(log)})
		if err != nil || a.Jail != "sshd" || !slices.Equal(a.Logs, []string{"-", "3,5", "10m", "-1", log}) {
			t.Errorf("%s: %.200v, %v", what, a, err)
		}
		if a, err := c.Replay(context.Background(), ReplayQuery{Jail: "sshd", Log: "/x", Upload: strings.NewReader(log)}); err != nil || a.Logs[0] != "/x" || a.Logs[4] != "" {
			t.Errorf("%s, a present log: %.200v, %v", what, a, err)
		}
		if _, err := c.Replay(context.Background(), ReplayQuery{}); err == nil || !strings.Contains(err.Error(), "the name of a jail") {
			t.Errorf("%s: no jail: %v", what, err)
		}
		late, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
		if _, err := c.Replay(late, ReplayQuery{Jail: "sshd"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s, too late: %v", what, err)
		}
		cancel()
	}
	if _, err := in.Client(Caller{"anna", Reader}).Replay(context.Background(), ReplayQuery{Jail: "sshd"}); err == nil || !strings.Contains(err.Error(), "operator") {
		t.Errorf("a viewer: %v", err)
	}
}

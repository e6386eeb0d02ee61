package doctor

import (
	"testing"

	"bailiff/pkg/config"
)

// TestTables: a word in brackets names a jail where there is one of that name, and none where it is a table of the daemon's.
func TestTables(t *testing.T) {
	d := &doctor{cfg: &config.Config{Jails: []*config.Jail{{Name: "sshd"}}}}
	for text, want := range map[string]string{
		`[database] path = "/tmp/x": the daemon may write whatever is in /tmp`: "",
		`/etc/bailiff/bailiff.toml:3: [web] listen is off`:                     "",
		`[sshd] something is doubtful`:                                         "sshd",
		`jail web: something is doubtful`:                                      "web",
	} {
		if f, ok := d.fromCheck(text, Doubtful); !ok || f.Jail != want {
			t.Errorf("%q is of jail %q, want %q", text, f.Jail, want)
		}
	}
}

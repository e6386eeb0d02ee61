package references

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestStarter: what a program prints and its exit code are those that it has by itself.
func TestStarter(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		t.Run(f.Version, func(t *testing.T) {
			t.Parallel()
			for _, c := range []struct {
				program string
				args    []string
			}{
				{"fail2ban-client", []string{"--version"}},
				{"fail2ban-client", []string{"-s", "/nonexistent", "ping"}},
				{"fail2ban-client", []string{"-x", "--no-such-option"}},
				{"fail2ban-regex", []string{"failed 192.0.2.1", "failed <HOST>"}},
			} {
				program := f.Program(c.program)
				command := func(name string, args ...string) *exec.Cmd {
					c := exec.Command(name, args...)
					c.Env = append(f.Env(), "TZ=UTC", "PYTHONUNBUFFERED=1")
					return c
				}
				alone := command(program, c.args...)
				alone.Dir = t.TempDir()
				want, _ := alone.CombinedOutput()
				s, err := NewStarter(t.TempDir(), program, command)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
				defer cancel()
				for range 2 {
					got, code, err := s.Combined(ctx, alone.Dir, program, c.args...)
					if err != nil || code != alone.ProcessState.ExitCode() || masked(got) != masked(string(want)) {
						t.Errorf("%s %q: exit %d, %v\n%s\nby itself: exit %d\n%s", c.program, c.args, code, err, got, alone.ProcessState.ExitCode(), want)
					}
				}
			}
		})
	}
}

// masked is what a program printed without times and process numbers.
func masked(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
}

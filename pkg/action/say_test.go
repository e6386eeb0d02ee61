package action

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bailiff/pkg/tags"
)

// TestSaid: what a command writes is told line by line, by where it went, as Python writes
// texts; of much of it, the beginning.
func TestSaid(t *testing.T) {
	for _, c := range []struct {
		command string
		want    []string
	}{
		{`echo "it's"; echo err >&2; exit 3`, []string{`stdout: "it's"`, `stderr: 'err'`, "returned 3"}},
		{`printf 'a\r\n\nb\tc'; printf '\377' >&2; exit 1`, []string{`stdout: 'a'`, `stdout: ''`, `stdout: 'b\tc'`, "stderr: '\uFFFD'", "returned 1"}},
		{"yes 0123456789 | head -n 9000; exit 1", append(slices.Repeat([]string{"stdout: '0123456789'"}, 187), "stdout: … (65536 bytes or more in all)", "returned 1")},
		{"echo fine", nil},
	} {
		var log bytes.Buffer
		opts := &tags.Options{}
		a := New(context.Background(), &Definition{Name: "a", Properties: opts}, &Site{Jail: "j", Log: slog.New(slog.NewTextHandler(&log, nil))})
		a.run(Command{Text: c.command})
		var got []string
		for line := range strings.Lines(log.String()) {
			m := regexp.MustCompile(`msg=("(?:[^"\\]|\\.)*")`).FindStringSubmatch(line)
			if m == nil || strings.Contains(m[1], " -- exec: ") {
				continue
			}
			text := strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(m[1][1 : len(m[1])-1])
			_, text, _ = strings.Cut(text, " -- ")
			got = append(got, text)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", c.command, got, c.want)
		}
	}
}

package cli

import (
	"strings"
	"testing"

	"bailiff/pkg/control"
)

// TestStatistics: the tables are those of fail2ban 1.1.1 for the same answers.
func TestStatistics(t *testing.T) {
	d := control.Dict{Keys: []string{"sshd", "a-long-named-jail"}, Values: map[string]any{
		"sshd":              control.List{"auto", control.Tuple{0, 5}, control.Tuple{1, 2}},
		"a-long-named-jail": control.List{"systemd", control.Tuple{12345, 5}, control.Tuple{1, 200000}},
	}}
	text := `
                   |          | Filter      | Actions     $
 Jail              | Backend  |-------------x--------------
                   |          |   cur | tot | cur |    tot
-------------------x----------x-------------x--------------
 sshd              | auto     |     0 |   5 |   1 |      2
 a-long-named-jail | systemd  | 12345 |   5 |   1 | 200000
-----------------------------------------------------------
`
	box := `
                   ║          ║ Filter      ║ Actions     $
 Jail              ║ Backend  ╟─────────────╫──────────────
                   ║          ║   cur │ tot ║ cur │    tot
═══════════════════╬══════════╬═════════════╬══════════════
 sshd              ║ auto     ║     0 │   5 ║   1 │      2
 a-long-named-jail ║ systemd  ║ 12345 │   5 ║   1 │ 200000
═══════════════════╩══════════╩═════════════╩══════════════
`
	for want, lines := range map[string]tableLines{text: linesText, box: linesBox} {
		if got := statistics(d, lines); got != strings.Trim(strings.ReplaceAll(want, "$", ""), "\n") {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	if got := statistics(control.Dict{}, linesText); got != "No jails found." {
		t.Error(got)
	}
}

// TestStatusAll: so are the trees of status --all.
func TestStatusAll(t *testing.T) {
	status := func(n int) control.List {
		return control.List{
			control.Tuple{"Filter", control.List{control.Tuple{"Currently failed", n}, control.Tuple{"Total failed", n}, control.Tuple{"File list", control.List{"/a", "/b"}}}},
			control.Tuple{"Actions", control.List{control.Tuple{"Currently banned", 1}, control.Tuple{"Total banned", 1}, control.Tuple{"Banned IP list", control.List{"192.0.2.1"}}}},
		}
	}
	head := control.List{control.Tuple{"Number of jail", 2}, control.Tuple{"Jail list", "a, b"}}
	got := beautify([]string{"status", "--all"}, append(head, control.Dict{Keys: []string{"a", "b"}, Values: map[string]any{"a": status(1), "b": status(2)}}))
	want := "Status\n|- Number of jail:\t2\n|- Jail list:\ta, b\n`- Status for the jails:\n" +
		"   |- Jail: a\n   |  |- Filter\n   |  |  |- Currently failed:\t1\n   |  |  |- Total failed:\t1\n   |  |  `- File list:\t/a /b\n" +
		"   |  `- Actions\n   |     |- Currently banned:\t1\n   |     |- Total banned:\t1\n   |     `- Banned IP list:\t192.0.2.1\n" +
		"   `- Jail: b\n      |- Filter\n      |  |- Currently failed:\t2\n      |  |- Total failed:\t2\n      |  `- File list:\t/a /b\n" +
		"      `- Actions\n         |- Currently banned:\t1\n         |- Total banned:\t1\n         `- Banned IP list:\t192.0.2.1"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := beautify([]string{"status", "--all"}, control.List{control.Tuple{"Number of jail", 0}, control.Tuple{"Jail list", ""}, control.Dict{}}); got != "Status\n|- Number of jail:\t0\n`- Jail list:\t" {
		t.Errorf("%q", got)
	}
}

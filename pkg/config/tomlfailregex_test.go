package config

import (
	"fmt"
	"strings"
	"testing"

	"bailiff/pkg/filter"
)

// TestWeights: expressions of a jail, of a filter and of its modes have weights, among others that
// have none.
func TestWeights(t *testing.T) {
	dir := directory(t, "bailiff.toml", `[jail.own]
enabled = true
logpath = "/x.log"
failregex = [
  'a <HOST>',
  { regex = 'b <HOST>', weight = 3 }, { regex = """
c <HOST>
d <HOST>""", weight = 100 },
  'e <HOST>',
  { regex = 'f <HOST>' },
]
[jail.one]
enabled = true
logpath = "/x.log"
failregex = { regex = 'a <HOST>', weight = 2 }
[jail.tables]
enabled = true
logpath = "/x.log"
[[jail.tables.failregex]]
regex = 'a <HOST>'
[[jail.tables.failregex]]
regex = 'b <HOST>'
weight = 7
[jail.f]
enabled = true
logpath = "/x.log"
filter = "f[mode=hard]"
`, "filters/f.toml", `failregex = ['<p>a <HOST>', { regex = '<p>b <HOST>', weight = 2 }]
[prefix]
p = '^x '
[mode.hard]
failregex = [{ regex = '<p>c <HOST>', weight = 5 }]
`)
	cfg := load(t, Options{Path: dir})
	if p := cfg.Problems(); len(p) > 0 {
		t.Fatal(p)
	}
	for name, want := range map[string]string{
		"own": "a <HOST>:5 b <HOST>*3:6 c <HOST>*100:7 d <HOST>*100:8 e <HOST>:9 f <HOST>:10", "one": "a <HOST>*2:15", "tables": "a <HOST>:20 b <HOST>*7:22",
		"f": "^x a <HOST>:1 ^x b <HOST>*2:1 ^x c <HOST>*5:5",
	} {
		j := jail(t, cfg, name)
		var got []string
		for _, x := range j.Filter.Failregex {
			text := x.Text
			if x.Weight > 0 {
				text += fmt.Sprintf("*%d", x.Weight)
			}
			got = append(got, fmt.Sprintf("%s:%d", text, x.Line))
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s: %s, want %s", name, text, want)
		}
		f, err := filter.Compile(j.Filter, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range f.Failregex() {
			if x.Weight != j.Filter.Failregex[i].Weight {
				t.Errorf("%s: compiled: %+v", name, x)
			}
		}
	}
	shown := ""
	for _, s := range jail(t, cfg, "own").Settings {
		if s.Name == "failregex" {
			shown = s.Value
		}
	}
	if !strings.Contains(shown, "b <HOST> (weight 3)\n") || strings.Contains(shown, "a <HOST> (") {
		t.Errorf("shown as %q", shown)
	}
}

// TestWrongWeights: what is no weight is refused, with its place and what would be right.
func TestWrongWeights(t *testing.T) {
	const table = "[jail.x]\nenabled = true\nlogpath = 'x'\nfailregex = ['a <HOST>',\n  "
	for item, want := range map[string]string{
		"{ regex = 'b <HOST>', weight = 0 }":           "weight 0: want a whole number from 1 to 100",
		"{ regex = 'b <HOST>', weight = -3 }":          "weight -3: want a whole number from 1 to 100",
		"{ regex = 'b <HOST>', weight = 101 }":         "weight 101: want a whole number from 1 to 100",
		"{ regex = 'b <HOST>', weight = 1.5 }":         "weight 1.5: want a whole number from 1 to 100",
		"{ regex = 'b <HOST>', weight = 2.0 }":         "weight 2: want a whole number: write weight = 2",
		"{ regex = 'b <HOST>', weight = nan }":         "weight NaN: want a whole number from 1 to 100",
		"{ regex = 'b <HOST>', weight = '3' }":         `weight: want a whole number from 1 to 100, for how many failures a match counts, not "3"`,
		"{ regex = 'b <HOST>', weight = true }":        "weight: want a whole number",
		"{ regex = 'b <HOST>', weight = [3] }":         "weight: want a whole number from 1 to 100, for how many failures a match counts, not an array",
		"{ regex = 'b <HOST>', wieght = 3 }":           `unknown key "wieght" (did you mean "weight"?)`,
		"{ weight = 3 }":                               "there is no regex",
		"{ regex = ' ', weight = 3 }":                  "there is no regex",
		"{ regex = 3, weight = 3 }":                    "regex: want a string, not 3",
		"{ regex = ['b <HOST>'], weight = 3 }":         "regex: want a string, not an array",
		"true":                                         "want strings, or tables { regex = '…', weight = N }, not true",
		"{ regex = 'b', weight = 3 }":                  `no failure-id group in "b"`,
		"{ regex = 'b <HOST>', weight = 999999999999}": "weight 999999999999: want",
	} {
		for _, form := range []struct{ text, file, at string }{
			{table + item + "]\n", "bailiff.toml", "bailiff.toml:5: "},
			{"failregex = ['a <HOST>',\n\n  " + item + "]\n", "filters/f.toml", "f.toml:3: "},
			{"failregex = 'a <HOST>'\n[mode.hard]\nfailregex = [\n " + item + "]\n", "filters/f.toml", "f.toml:4: "},
		} {
			files := []string{form.file, form.text}
			if form.file != "bailiff.toml" {
				files = append(files, "bailiff.toml", "[jail.x]\nenabled = true\nlogpath = 'x'\nfilter = 'f[mode=hard]'\n")
				if !strings.Contains(form.text, "mode") {
					files[3] = strings.Replace(files[3], "[mode=hard]", "", 1)
				}
			}
			cfg, err := Load(Options{Path: directory(t, files...)})
			all := fmt.Sprint(err)
			if err == nil {
				all = fmt.Sprint(cfg.Problems())
			}
			if !strings.Contains(all, want) || !strings.Contains(all, form.at) {
				t.Errorf("%s:\n%s\nlacks %q, or %q", form.text, all, form.at, want)
			}
		}
	}
	// It is a key of ours, and none of fail2ban's.
	dir := directory(t, "jail.conf", "[DEFAULT]\n[x]\nenabled = true\nlogpath = /dev/null\nfilter =\nweight = 3\ncount.distinct = user\nsuccess.forgives = true\nfailregex = { regex = 'a <HOST>', weight = 3 }\n")
	cfg := load(t, Options{Path: dir})
	if j := jail(t, cfg, "x"); len(j.Filter.Failregex) != 1 || j.Filter.Failregex[0].Weight != 0 || !strings.HasPrefix(j.Filter.Failregex[0].Text, "{ regex") {
		t.Errorf("%+v", j.Filter.Failregex)
	}
}

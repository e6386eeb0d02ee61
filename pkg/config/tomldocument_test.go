package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestPlaces checks that keys are found where they stand, however they are written.
func TestPlaces(t *testing.T) {
	text := strings.Join([]string{
		`a = 1 # b = 2`,                  // 1
		`"q.r" = 'x # y'`,                //
		`c = """`,                        // 3
		`d = 4`,                          //
		`\""" # """`,                     //
		`e = [ 1, [ 2, # ] f = 1`,        // 6
		`  3 ], { g = 1, h.i = 2 } ]`,    //
		`'lit' = ''' [t] '''`,            // 8
		`[t]`,                            //
		`a = { b = 1, "c d" = { e = 2 }`, // 10
		`  , f = "}" }`,                  //
		`ban.prefix4 = 24`,               // 12
		` [ t . "u v" ] # comment`,       //
		`x = 2024-01-01 07:32:00`,        // 14
		`[[s]]`,                          //
		`k = 1`,                          // 16
		`[[s]]`,                          //
		`k = 2`,                          // 18
		`[s.sub]`,                        //
		`k = 3`,                          // 20
		`[[s.deep]]`,                     //
		`k = 4`,                          // 22
		"z = 'ü'\r",                      //
		`"k\u0041" = 5`,                  // 24
	}, "\n")
	d, err := parseDocument("x", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"a": 1, "q.r": 2, "c": 3, "e": 6, "e|2|g": 7, "e|2|h|i": 7, "lit": 8, "t": 9, "t|a": 10, "t|a|b": 10, "t|a|c d|e": 10, "t|a|f": 11,
		"t|ban": 12, "t|ban|prefix4": 12, "t|u v": 13, "t|u v|x": 14, "s": 15, "s|0|k": 16, "s|1": 17, "s|1|k": 18, "s|1|sub": 19, "s|1|sub|k": 20,
		"s|1|deep|0|k": 22, "s|1|deep|0|z": 23, "s|1|deep|0|kA": 24, "t|nothing": 9, "nothing": 0,
	} {
		if got := d.line(strings.Split(path, "|")...); got != want {
			t.Errorf("%s: line %d, want %d", path, got, want)
		}
	}
	checkPlaces(t, d)
	// All that we carry.
	for _, pattern := range []string{"../../filters/*.toml", "../../jails/*.toml"} {
		files, _ := filepath.Glob(pattern)
		if len(files) < 50 {
			t.Errorf("%s: %d files", pattern, len(files))
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if d, err = parseDocument(f, data); err != nil {
				t.Fatal(err)
			}
			checkPlaces(t, d)
		}
	}
}

// checkPlaces checks that every key that the parser has found has a place, in a line
// that holds it.
func checkPlaces(t *testing.T, d *document) {
	t.Helper()
	lines := strings.Split(d.text, "\n")
	var walk func(path []string, v any)
	walk = func(path []string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				at := append(slices.Clone(path), k)
				p, ok := d.at[pathKey(at)]
				bare := strings.IndexFunc(k, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) < 0
				if !ok {
					t.Errorf("%q: no place in %q", at, d.text)
				} else if p.line < 1 || p.line > len(lines) || bare && !strings.Contains(lines[p.line-1], `\`) && !strings.Contains(lines[p.line-1], k) {
					t.Errorf("%q: line %d of %q", at, p.line, d.text)
				}
				walk(at, x)
			}
		default:
			list, _ := listOf(v)
			for i, x := range list {
				walk(append(slices.Clone(path), strconv.Itoa(i)), x)
			}
		}
	}
	walk(nil, d.table)
}

func FuzzPlaces(f *testing.F) {
	f.Add("a = 1\n[b.c]\nd = [{e = 1}, 2]\n[[f]]\ng.h = '''x\n'''\n[f.i]\nj=\"\"\"k\"\"\"")
	f.Add("'a.b'.\"c\\u0041\" = 1\n[[x]]\n[[x.y]]\nz = {}")
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := parseDocument("fuzz", []byte(text)); err == nil && !strings.Contains(text, "\x00") {
			checkPlaces(t, d)
		}
	})
}

// TestAlone checks that a mistake costs what depends on it, always the same, and that
// all of them are told, in the order of the file.
func TestAlone(t *testing.T) {
	text := `[default]
bantime = true
maxretry = 'x'
[jail.c]
enabled = true
bantime = "1h"
maxretry = 3
logpath = "/c"
failregex = "c <HOST>"
[jail.b]
enabled = true
logpath = "/b"
failregex = "b <HOST>"
findtime = [1]
port = 80.5
bantime = "1h"
maxretri = 3
[jail.a]
enabled = true
bantime = "2h"
logpath = "/a"
failregex = "a <HOST>"
[jail.d]
enabled = "yes"
[jail.e]
enabled = true
maxretry = 3
bantime = "1h"
logpath = "/e"
failregex = "e <HOST>"
bann = 1
[jail.f]
logpath = true
`
	want := `bailiff.toml:2: bantime: want a string or a number, not true
bailiff.toml:3: maxretry: want a whole number, not "x"
bailiff.toml:33: logpath: want a string or an array of strings, not true
jail a: bailiff.toml:3: maxretry: want a whole number, not "x"
jail b: bailiff.toml:3: maxretry: want a whole number, not "x"
jail b: bailiff.toml:14: findtime: want a string or a number, not an array
jail b: bailiff.toml:15: port: want a string or an array of strings, not 80.5
jail b: bailiff.toml:17: unknown key "jail.b.maxretri" (did you mean "maxretry"?)
jail d: bailiff.toml:2: bantime: want a string or a number, not true
jail d: bailiff.toml:3: maxretry: want a whole number, not "x"
jail d: bailiff.toml:24: enabled: want true or false, not "yes"
jail e: bailiff.toml:31: unknown key "jail.e.bann" (did you mean "ban"?)
`
	dir := directory(t, "bailiff.toml", text)
	for range 30 {
		cfg := load(t, Options{Path: dir})
		var got strings.Builder
		for _, p := range cfg.Problems() {
			fmt.Fprintln(&got, strings.ReplaceAll(p.Error(), dir+"/", ""))
		}
		if got.String() != want {
			t.Fatalf("got:\n%s\nwant:\n%s", got.String(), want)
		}
		for name, broken := range map[string]bool{"a": true, "b": true, "c": false, "d": true, "e": false} {
			if (jail(t, cfg, name).Broken() != nil) != broken {
				t.Fatalf("jail %s: %v", name, jail(t, cfg, name).Broken())
			}
		}
	}
}

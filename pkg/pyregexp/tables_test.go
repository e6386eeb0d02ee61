package pyregexp

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
)

// table runs testdata/tables.py and calls each with every line of its output.
func table(t testing.TB, name string, each func(line []byte)) {
	t.Helper()
	cmd := exec.Command(python, "testdata/tables.py", name)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReaderSize(out, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		each(line)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("testdata/tables.py %s: %v (it needs Debian's fail2ban and the testsuite of its Python; make test installs them)", name, err)
	}
}

// TestPythonTable runs Python's own table of cases. There are no exceptions: its
// patterns are all str patterns.
func TestPythonTable(t *testing.T) {
	var cases []pyCase
	table(t, "re_tests", func(line []byte) {
		var c pyCase
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	})
	if len(cases) < 400 {
		t.Fatalf("only %d cases: is the table whole?", len(cases))
	}
	refused := 0
	startPython(t).ask(t, cases, func(i int, ans pyAnswer) {
		c := cases[i]
		re, err := Compile(c.Pattern, 0)
		if ans.Error != nil || err != nil {
			refused++
			if ans.Error == nil || err == nil || err.Error() != *ans.Error {
				t.Errorf("%q: ours %v, Python %v", c.Pattern, err, ans.Error)
			}
			return
		}
		got, err := ourSpans(re, c.Subjects[0])
		if want := ans.Results[0].Spans; err != nil || showSpans(got) != showSpans(want) {
			t.Errorf("%q on %q: ours %s %v, Python %s", c.Pattern, c.Subjects[0], showSpans(got), err, showSpans(want))
		}
	})
	t.Logf("%d cases, %d of them refused by both", len(cases), refused)
}

// filterTable is what fail2ban's filters expand to and find in its sample logs.
type filterTable struct {
	lines []string
	exprs []filterExpr
}

type filterExpr struct {
	Pattern string `json:"p"`
	Flags   int    `json:"f"` // Python's; 8 is MULTILINE
	Filter  string `json:"filter"`
	Hits    []json.RawMessage

	re   *Regexp
	hits map[int]string // spans by line
}

func readFilters(t testing.TB) *filterTable {
	t.Helper()
	f := &filterTable{}
	table(t, "filters", func(line []byte) {
		if f.lines == nil {
			var head struct{ Lines []string }
			if err := json.Unmarshal(line, &head); err != nil {
				t.Fatal(err)
			}
			f.lines = head.Lines
			return
		}
		e := filterExpr{hits: map[int]string{}}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		for _, raw := range e.Hits {
			var n int
			var spans [][2]int
			if err := json.Unmarshal(raw, &[]any{&n, &spans}); err != nil {
				t.Fatal(err)
			}
			e.hits[n] = showSpans(spans)
		}
		var flags Flag
		if e.Flags&8 != 0 {
			flags = MULTILINE
		}
		var err error
		if e.re, err = Compile(e.Pattern, flags); err != nil {
			t.Errorf("filter %s: %v", e.Filter, err)
			return
		}
		f.exprs = append(f.exprs, e)
	})
	return f
}

// TestFilters runs every expression of fail2ban's stock filters on every line of
// its sample logs, alone and all together as one Set.
func TestFilters(t *testing.T) {
	f := readFilters(t)
	if len(f.exprs) < 253 || len(f.lines) < 3000 {
		t.Fatalf("%d expressions, %d lines: is the package whole?", len(f.exprs), len(f.lines))
	}
	hits, passed, onePass := 0, 0, 0
	var all []*Regexp
	for _, e := range f.exprs {
		all = append(all, e.re)
		if e.re.one != nil {
			onePass++
		}
		for n, line := range f.lines {
			got, err := ourSpans(e.re, line)
			want, ok := e.hits[n]
			if !ok {
				want = "no match"
			}
			if err != nil || showSpans(got) != want {
				t.Errorf("filter %s: %q on %q:\n ours   %s %v\n Python %s", e.Filter, e.Pattern, line, showSpans(got), err, want)
			}
			if ok {
				hits++
			}
			if e.re.mayMatch([]byte(line)) {
				passed++
			}
		}
	}
	set := NewSet(all...)
	var members []int
	for n, line := range f.lines {
		members = set.Match([]byte(line), members)
		named := map[int]bool{}
		for _, m := range members {
			named[m] = true
		}
		for i, e := range f.exprs {
			if _, ok := e.hits[n]; ok && !named[i] {
				t.Errorf("the set leaves out %q on %q", e.Pattern, line)
			}
		}
	}
	t.Logf("%d expressions (%d one-pass) × %d lines: %d matches; the first two rungs let %d through", len(f.exprs), onePass, len(f.lines), hits, passed)
}

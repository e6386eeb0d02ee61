package pyregexp

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
)

// python is Debian's own interpreter, whose re is the reference: 3.11.
const python = "/usr/bin/python3"

// pyFlags turns our flags into the numbers of Python's re.
func pyFlags(f Flag) int {
	n := 0
	for _, x := range []struct {
		f Flag
		n int
	}{{IGNORECASE, 2}, {MULTILINE, 8}, {DOTALL, 16}, {VERBOSE, 64}, {ASCII, 256}} {
		if f&x.f != 0 {
			n |= x.n
		}
	}
	return n
}

type pyCase struct {
	Pattern  string   `json:"p"`
	Flags    int      `json:"f"`
	Subjects []string `json:"s"`
}

type pyAnswer struct {
	Error   *string `json:"error"`
	Pos     *int    `json:"pos"`
	Results []struct {
		Spans    [][2]int   `json:"spans"`
		Stepwise [][][2]int `json:"stepwise"` // where re's search and match disagree
		Timeout  bool       `json:"timeout"`
		Broken   *string    `json:"broken"`
	} `json:"results"`
}

// askPython answers cases one after the other.
type askPython struct{ *hosttest.Oracle }

func startPython(t testing.TB) *askPython {
	t.Helper()
	return &askPython{hosttest.StartOracle(t, nil, "testdata/pyre.py")}
}

// ask sends all cases and calls each with every answer, in order.
func (a *askPython) ask(t testing.TB, cases []pyCase, each func(i int, ans pyAnswer)) {
	t.Helper()
	go func() {
		w := bufio.NewWriterSize(a.In, 1<<20)
		enc := json.NewEncoder(w)
		for _, c := range cases {
			if enc.Encode(c) != nil {
				return
			}
		}
		w.Flush()
	}()
	for i := range cases {
		var ans pyAnswer
		a.Answer(t, &ans)
		each(i, ans)
	}
}

// ourSpans searches as the ladder does and returns the spans of all groups.
func ourSpans(re *Regexp, s string) ([][2]int, error) {
	m, err := re.Search([]byte(s), nil)
	if err != nil || m == nil {
		return nil, err
	}
	out := make([][2]int, len(m)/2)
	for i := range out {
		out[i] = [2]int{m[2*i], m[2*i+1]}
		if m[2*i] < 0 || m[2*i+1] < 0 {
			out[i] = [2]int{-1, -1}
		}
	}
	return out, nil
}

func showSpans(s [][2]int) string {
	if s == nil {
		return "no match"
	}
	return strings.ReplaceAll(fmt.Sprint(s), "[-1 -1]", "-")
}

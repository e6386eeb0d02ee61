package control

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
)

// TestDicts: a dict in a request, as fail2ban-client sends it of [Thread] with a reload, is
// read in every form of pickle; one that is none is refused.
func TestDicts(t *testing.T) {
	const want = `['reload', '--all', [], [['set', 'thread', {'stacksize': 64}], ['a', {}, {'k': ['x'], 'l': {'m': None}}]]]`
	out := hosttest.Python(t, nil, "", "-c", "import pickle\nv="+want+"\nfor p in range(6): print(pickle.dumps(v, p).hex())")
	forms := strings.Fields(string(out))
	if len(forms) != 6 {
		t.Fatalf("%d forms", len(forms))
	}
	for i, form := range forms {
		data, err := hex.DecodeString(form)
		if err != nil {
			t.Fatal(err)
		}
		words, err := readPickle(bufio.NewReader(bytes.NewReader(data)), &readerLimits)
		if err != nil {
			t.Errorf("protocol %d: %v", i, err)
			continue
		}
		r := &Request{Words: words, Role: Owner}
		if got := r.Shown(1000); got != want {
			t.Errorf("protocol %d: got %s\nwant %s", i, got, want)
		}
		var values List
		for _, w := range words {
			values = append(values, w.Value())
		}
		if got := Repr(values); got != want {
			t.Errorf("protocol %d: the values are %s", i, got)
		}
	}
	for name, data := range map[string]string{
		"odd":               "(lp0\n(dp1\n(I1\nusa.",
		"a key that is one": "](](d.",
		"an odd dict":       "](I1\nda.",
		"a list as a key":   "]}]I1\nsa.",
		"onto a list":       "]I1\nI2\ns.",
		"a list's end":      "]}(I1\nea.",
	} {
		if w, err := readPickle(bufio.NewReader(strings.NewReader(data)), &readerLimits); err == nil {
			t.Errorf("%s: %v was taken", name, (&Request{Words: w}).Shown(100))
		}
	}
	// Only where one belongs.
	dict := &Word{kind: aDict}
	for _, c := range []struct {
		words []*Word
		ok    bool
	}{
		{[]*Word{{kind: aText, text: "set"}, {kind: aText, text: "thread"}, dict}, true},
		{[]*Word{{kind: aText, text: "set"}, {kind: aText, text: "loglevel"}, dict}, false},
		{[]*Word{{kind: aText, text: "set"}, {kind: aText, text: "thread"}, {kind: aList}}, false},
		{[]*Word{{kind: aText, text: "set"}, dict, dict}, false},
		{[]*Word{{kind: aText, text: "get"}, dict}, false},
		{[]*Word{dict}, true}, // no command, as the daemon says
	} {
		if err := (&Request{Words: c.words, Role: Owner}).permit(); (err == nil) != c.ok {
			t.Errorf("%s: %v", (&Request{Words: c.words}).Shown(100), err)
		}
	}
}

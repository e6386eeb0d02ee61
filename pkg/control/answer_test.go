package control

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
)

// answers are expressions of Python's; what our client makes of their pickles is to print
// as they do.
const answers = `
import base64, json, pickle, sys
from fail2ban.server.ipdns import IPAddr, IPAddrSet, FileIPAddrSet
from fail2ban.server.failregex import RegexException
from fail2ban.exceptions import UnknownJailException
twice = ["x"]
values = [
	None, True, False, 0, 255, 65536, -1, 2**31, -2**31, 2**62, -2**62, 1.5, -0.0, "", "a", "Jörg ☃ 𝄞", "q'\"\\\n\t", "x" * 300,
	[], [1, "a"], (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [[("a", 1)], {"b": [2], "a": (1,)}], {}, {"z": 1, "a": 2, "m": {"k": None}},
	[twice, twice, (twice,)], list(range(2000)), {str(i): i for i in range(1500)}, [("Number of jail", 2), ("Jail list", "b, a")],
]
for v in values:
	for p in range(6):
		print(json.dumps([base64.b64encode(pickle.dumps((0, v), p)).decode(), repr(v)]))
for v, said in [(IPAddr("192.0.2.1"), "'192.0.2.1'"), (IPAddr("2001:db8::/64"), "'2001:db8::/64'"), ([FileIPAddrSet("/a/b")], "['file://a/b']"), ([FileIPAddrSet("a")], "['file:a']"), ({"x"}, "['x']")]:
	for p in range(2, 6):
		print(json.dumps([base64.b64encode(pickle.dumps((0, v), p)).decode(), said]))
for e in [ValueError("wrong"), UnknownJailException("sshd"), RegexException("bad"), IndexError("x"), KeyError(), Exception("a", 1)]:
	for p in range(2, 6):
		print(json.dumps([base64.b64encode(pickle.dumps((1, e), p)).decode(), "!" + type(e).__name__ + repr(e.args)]))
`

func TestAnswersOfPython(t *testing.T) {
	out := hosttest.Python(t, hosttest.Newest(t), "", "-c", answers)
	n := 0
	for line := range strings.Lines(string(out)) {
		var x [2]string
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			t.Fatal(err)
		}
		data, err := base64.StdEncoding.DecodeString(x[0])
		if err != nil {
			t.Fatal(err)
		}
		v, err := decodeAnswer(data)
		got := Repr(v)
		if e, ok := err.(*Exception); ok {
			got = "!" + e.Class + Repr(Tuple(e.Args))
		} else if err != nil {
			got = err.Error()
		}
		if got != x[1] {
			t.Errorf("%q: %.300s, want %.300s", data, got, x[1])
		}
		n++
	}
	if n < 200 {
		t.Errorf("%d answers were read", n)
	}
}

func FuzzAnswer(f *testing.F) {
	for _, v := range []any{nil, List{1, "a", Tuple{2.5, true}}, Dict{Keys: []string{"a"}, Values: map[string]any{"a": List{}}}} {
		data, err := EncodeAnswer(v, nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("\x80\x04]\x94h\x00ah\x00\x86."))                                    // a list that holds itself
	f.Add([]byte("\x80\x03K\x00cposix\nsystem\nX\x02\x00\x00\x00id\x85R\x86."))       // a call
	f.Add([]byte("\x80\x03K\x01cbuiltins\nValueError\nX\x01\x00\x00\x00x\x85R\x86.")) // an error
	f.Fuzz(func(_ *testing.T, data []byte) {
		v, err := decodeAnswer(data)
		if err == nil {
			Repr(v)
		}
	})
}

func TestAnswerThatHoldsItself(t *testing.T) {
	if v, err := decodeAnswer([]byte("\x80\x04K\x00]\x94h\x00a\x86.")); err != errDeep {
		t.Errorf("a list that holds itself: %v, %v", v, err)
	}
	bomb := "]\x94" // each list holds the one before ten times
	for i := range 9 {
		bomb += "]\x94" + strings.Repeat("h"+string(rune(i))+"a", 10)
	}
	if _, err := decodeAnswer([]byte("\x80\x04K\x00" + bomb + "\x86.")); err != errDeep {
		t.Errorf("ten to the ninth lists: %v", err)
	}
	// One text that is named again and again: each time costs two bytes, and 64 KiB when it
	// is printed. And one that is quoted, and quoted again, is twice as long each time.
	named := "](X\x00\x00\x01\x00" + strings.Repeat("x", 1<<16) + "\x94" + strings.Repeat("h\x00", 20_000) + "e"
	quoted := strings.Repeat("cbuiltins\nstr\n(](", 30) + "U\x02'\"" + strings.Repeat("etR", 30)
	for name, value := range map[string]string{"a text of 64 KiB, 20,000 times": named, "a text that is quoted 30 times": quoted} {
		if v, err := decodeAnswer([]byte("\x80\x04K\x00" + value + "\x86.")); err != errDeep {
			t.Errorf("%s: %.100v, %v", name, v, err)
		}
	}
	// As much as it says itself is no matter.
	if v, err := decodeAnswer([]byte("\x80\x04K\x00](X\x00\x00\x01\x00" + strings.Repeat("x", 1<<16) + "\x94" + strings.Repeat("h\x00", 200) + "e\x86.")); err != nil || len(v.(List)) != 201 {
		t.Errorf("%.100v, %v", v, err)
	}
}

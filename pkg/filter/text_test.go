package filter

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/transport"
)

// textDefinitions are filters of several kinds.
var textDefinitions = []Definition{
	{
		Name:      "sshd-like",
		Prefregex: Expr{Text: `^<F-MLFID>\s*(?:\S+ )?sshd\[\d+\]: </F-MLFID>(?:error: )?<F-CONTENT>.+</F-CONTENT>$`},
		Failregex: []Expr{
			{Text: `^Failed \w+ for <F-USER>.*?</F-USER> from <HOST>(?: port \d+)?`},
			{Text: `^[iI]nvalid user <F-USER>.*?</F-USER> from <HOST>`},
			{Text: `^<F-NOFAIL><F-MLFFORGET>Disconnected</F-MLFFORGET></F-NOFAIL> from <HOST>`},
			{Text: `^<F-NOFAIL>Connection</F-NOFAIL> from <HOST>`},
			{Text: `^<F-MLFGAINED>Accepted</F-MLFGAINED> for <F-USER>\S+</F-USER> from <HOST>`},
			{Text: `user <F-USER>\S+</F-USER> too`},
		},
	},
	{Name: "plain", Failregex: []Expr{{Text: `login failed .* <ADDR>\s*$`}, {Text: `denied\s+<HOST>`}}, Ignoreregex: []Expr{{Text: `denied 192`}}},
	{Name: "many", Failregex: []Expr{{Text: `a <ADDR>$`}, {Text: `b <ADDR>$`}, {Text: `denied <HOST>`}, {Text: `failed \w+ <HOST>`}}, Ignoreregex: []Expr{{Text: `bob`}}},
	{Name: "middle", DatePattern: []string{`\[%d/%b/%Y:%H:%M:%S\]`, `%Y-%m-%d %H:%M:%S`}, Failregex: []Expr{{Text: `^<HOST> - .*denied`}, {Text: `denied <HOST>`}}},
	{Name: "own", DatePattern: []string{`^%Y-%m-%d %H:%M:%S`}, Failregex: []Expr{{Text: `^ denied <HOST>`}}},
}

// randomText is a log of many forms, as a text and as the lines of it.
func randomText(r *rand.Rand) (text []byte, lines [][]byte) {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	form := r.IntN(5)
	second := r.IntN(60)
	for range r.IntN(120) {
		if r.IntN(15) == 0 {
			form = r.IntN(5)
		}
		second += r.IntN(3) / 2
		var date string
		switch at := time.Date(2026, 3, 1+r.IntN(2)*r.IntN(30), 10, second/60%60, second%60, 0, time.UTC); form {
		case 0:
			date = at.Format("Jan _2 15:04:05 ")
		case 1:
			date = at.Format("2006-01-02 15:04:05 ")
		case 2:
			date = at.Format("2006-01-02T15:04:05.000+01:00 ")
		case 3:
			date = pick("192.0.2.7", "a", "198.51.100.12") + at.Format(" - [02/Jan/2006:15:04:05] ")
		case 4:
			date = pick("", "", at.Format("[2006-01-02 15:04:05] "))
		}
		if r.IntN(40) == 0 {
			date = pick("", "Feb 31 10:00:00 ", "Mar  1 10:00:0", "#", "Mar  1 10:00:00.5 ", "Mar  1 10:00:00 2026 ", "<13>Mar  1 10:00:00 ", `{"log":"`, "2026-03-01T10:00:00Z stdout F ", "\x1b[1m")
		}
		host := pick("web1 ", "web1 ", "web1 ", "", "Abc ", "am ", "9 ", "utc ")
		pid := 100 + r.IntN(4)
		addr := pick("192.0.2.7", "192.0.2.8", "2001:db8::7", "198.51.100.300", "host.example")
		said := pick(
			"Failed password for root from "+addr+" port 22", "Invalid user bob from "+addr, "Disconnected from "+addr, "Connection from "+addr,
			"Accepted for bob from "+addr, "user eve too", "nothing", "", "pam_unix(sshd:session): session opened", "error: Failed x for y from "+addr,
		)
		line := date
		switch r.IntN(3) {
		case 0:
			line += fmt.Sprintf("%ssshd[%d]: %s", host, pid, said)
		case 1:
			line += pick("", host) + pick("login failed for x ", "denied ", "a ", "b ", "failed bob ", "failed eve ") + addr
		default:
			line += fmt.Sprintf("%sCRON[%d]: %s", host, pid, said)
		}
		if r.IntN(30) == 0 {
			i := r.IntN(len(line) + 1)
			line = line[:i] + pick("\x00", "\x01", "\x7f", "\t", "  ", "\v") + line[i:]
		}
		if r.IntN(3000) == 0 {
			line += strings.Repeat("x", 70_000)
		}
		text = append(text, line...)
		text = append(text, pick("\n", "\n", "\n", "\n", "\r\n", "\r\r\n", "\n\n", "\n\r\n", "\n# a comment\n")...)
	}
	if n := len(text); n > 0 && r.IntN(3) == 0 {
		text = bytes.TrimRight(text, "\r\n")
	}
	return text, linesOf(text)
}

func linesOf(text []byte) (lines [][]byte) {
	for _, line := range bytes.Split(text, newline) {
		if line = bytes.TrimRight(line, "\r"); len(line) > 0 && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

// compareText has lines looked at one by one and as texts, and compares all that is told.
// With around, texts are looked at for marks of what may stand around lines.
func compareText(t *testing.T, d Definition, texts [][]byte, count, around bool) (marked int) {
	t.Helper()
	compile := func() *Filter {
		f, err := Compile(d, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		f.Detail, f.CheckAll = DetailIDs, count
		return f
	}
	alone, ahead := compile(), compile()
	scout := ahead.NewScout()
	if scout == nil {
		t.Fatalf("%s: nothing can be looked at ahead", d.Name)
	}
	now := time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	var log *transport.Log // nil: nothing stands around lines
	if around {
		log = transport.New(transport.Options{Runtime: true, Rewrite: true, Colours: true})
	}
	var want, got strings.Builder
	tell := func(b *strings.Builder, line []byte, r *Result) {
		fmt.Fprintf(b, "%.200q %v %v %v\n", line, r.Err, r.Ignores, count && r.Prefixed)
		for _, x := range r.Failures {
			fmt.Fprintf(b, "  %s %v %s %d %v %v\n", x.ID, x.Addr, x.Epoch(), x.Regex, x.NoFail, x.Pending)
		}
	}
	for _, text := range texts {
		lines := linesOf(text)
		for _, line := range lines {
			if r := alone.Match(line, now); count || len(r.Failures) > 0 || r.Err != nil {
				tell(&want, line, &r)
			}
		}
		log.Lines(lines[:min(len(lines), 1)])
		marks, _ := log.Marks()
		var seen Sightings
		if !scout.LookText(text, marks, ahead.Form(), &seen) {
			if marked++; ahead.Form().Known() && !around || ahead.Form().Known() && !bytes.ContainsAny(text, "\x1b{<") && !bytes.Contains(text, []byte("T10:")) {
				t.Fatalf("%s: no line of %.300q has a mark", d.Name, text)
			}
			for _, line := range lines {
				if r := ahead.Match(line, now); count || len(r.Failures) > 0 || r.Err != nil {
					tell(&got, line, &r)
				}
			}
			continue
		}
		each := func(line []byte, r *Result) error {
			tell(&got, line, r)
			return nil
		}
		var err error
		if count {
			err = ahead.CountText(text, &seen, now, each, func(m *Missed) error {
				i, prefixed := m.From, 0
				m.Lines(func(line []byte) bool {
					p := seen.isPrefixed(i)
					if p {
						prefixed++
					}
					tell(&got, line, &Result{Prefixed: p})
					i++
					return true
				})
				if i != m.To || prefixed != m.Prefixed || m.LastPrefixed != seen.isPrefixed(i-1) {
					t.Fatalf("%s: lines %d to %d, up to %d", d.Name, m.From, m.To, i)
				}
				return nil
			})
		} else {
			err = ahead.MatchText(text, &seen, now, each)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if want.String() != got.String() {
		a, b := strings.Split(want.String(), "\n"), strings.Split(got.String(), "\n")
		for i := range a {
			if i >= len(b) || a[i] != b[i] {
				t.Fatalf("%s, counted %v: line by line:\n%s\nas a text:\n%s", d.Name, count, strings.Join(a[max(0, i-3):i+1], "\n"), strings.Join(b[max(0, min(i, len(b)-1)-3):min(i+1, len(b))], "\n"))
			}
		}
		t.Fatalf("%s: more is told of a text: %s", d.Name, strings.Join(b[len(a)-1:], "\n"))
	}
	x, y := alone.Dates(), ahead.Dates()
	for i := range x {
		if x[i].Name != y[i].Name || x[i].Hits != y[i].Hits {
			t.Fatalf("%s: date template %d is %s with %d hits, of a text %s with %d", d.Name, i, x[i].Name, x[i].Hits, y[i].Name, y[i].Hits)
		}
	}
	if alone.last != ahead.last && !alone.isLately && !ahead.isLately {
		t.Fatalf("%s: the last time is %v, of a text %v", d.Name, alone.last, ahead.last)
	}
	return marked
}

// TestText: a text whose lines are never cut out tells the same as its lines one by one.
func TestText(t *testing.T) {
	sequential(t)
	r := rand.New(rand.NewPCG(11, 12))
	texts, marked := 0, 0
	for round := range rounds(20) {
		var list [][]byte
		for range 4 + r.IntN(10) {
			text, _ := randomText(r)
			list = append(list, text)
		}
		for _, d := range textDefinitions {
			for _, count := range []bool{false, true} {
				marked += compareText(t, d, list, count, round%4 == 0)
				texts += len(list)
			}
		}
	}
	if marked == 0 || marked > texts*9/10 {
		t.Errorf("%d of %d texts have marks", marked, texts)
	}
	t.Logf("%d texts, %d with marks", texts, marked)
}

func FuzzText(f *testing.F) {
	r := rand.New(rand.NewPCG(13, 14))
	for range 20 {
		text, _ := randomText(r)
		f.Add(text, uint8(r.IntN(20)), 1+r.IntN(200))
	}
	f.Fuzz(func(t *testing.T, text []byte, which uint8, cut int) {
		for i, c := range text {
			text[i] = c & 0x7f // others are not given as texts
		}
		at := min(max(cut, 0), len(text))
		if n := bytes.IndexByte(text[at:], '\n'); n >= 0 {
			at += n + 1
		}
		d := textDefinitions[int(which>>1)%len(textDefinitions)]
		compareText(t, d, [][]byte{text[:at:at], text[at:]}, which&1 != 0, which > 200)
	})
}

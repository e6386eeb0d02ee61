package config

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

func TestParseTime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"600": 600 * time.Second, "10m": 10 * time.Minute, "1d 12h": 36 * time.Hour, "1d12h": 36 * time.Hour,
		"1.5h": 90 * time.Minute, "1w": 7 * 24 * time.Hour, "2 weeks": 14 * 24 * time.Hour, "1mo": 2629800 * time.Second, "1y": 31557600 * time.Second,
		"0.5": 500 * time.Millisecond, "1h 30": time.Hour + 30*time.Second,
		"24*3600": 24 * time.Hour, "60 * 60 * 24": 24 * time.Hour, ".5h": 30 * time.Minute, "1000000.0": 1000000 * time.Second,
		"10 mins": 10 * time.Minute, "30secs": 30 * time.Second, // ours
		"9999999999": LongestTime, "-9999999999": -LongestTime, "9223372036854775807": LongestTime,
	} {
		if got, err := ParseTime(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	if d, err := ParseTime("-1"); err != nil || d >= 0 {
		t.Errorf("-1: %v, %v", d, err)
	}
	for text, want := range map[string]string{
		"": "empty time", " ": "empty time", "soon": "want something like", "10 minuten": `unknown unit "minuten"`, "1h-": "want something like", "m10": "want something like",
		"99999999999999999999": "too long", "2**200": "too long", "9**9**9**9": "too long", "1.5**99999": "too long", "99999999999999999999**2": "too long",
		"4611686018427387904*4611686018427387904": "too long", "0-9223372036854775807-9223372036854775807": "too long", "9223372036854775807+1": "too long",
		"1/0": "division by zero", "1%0": "division by zero", "0**-1": "division by zero", "010": "does not begin with 0",
		"__import__('os')": "want something like", "abs(1)": "want something like", "1 if 1 else 2": "unknown unit", "True": "want something like", "'5'": "want something like",
		"(-8)**.5": "too long", "1h,30m": "want something like", "nan": "want something like", "inf": "want something like", "1e400": "unknown unit", "1h ٣": "want something like",
		strings.Repeat("(", 400) + "1" + strings.Repeat(")", 400): "parentheses deep",
		strings.Repeat("-", 900) + "x":                            "want something like",
		strings.Repeat("2**", 300) + "1":                          "powers deep",
		strings.Repeat("1", 1001):                                 "longer than 1000 characters",
	} {
		if d, err := ParseTime(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, %v; want %s", text, d, err, want)
		}
	}
}

// times are texts that fail2ban takes or refuses in its own way.
const times = `600|-1|0|-0|24*3600|60 * 60 * 24|9999999999|.5h|5.h|1000000.0|1e6|1e3h|1.5h|1d 12h|1d12h|1h30m|1h 30|10 m|10m|10 minutes|10 minute|10min
1da|1dd|1day|1days|1w|1we|1week|1weeks|1ww|1mo|1mon|1month|1months|1y|1ye|1year|1years|1yy|1mm|1hh|1ss|1s|1sec|1second|1seconds|1se|1mi|1ho|1wee|1yea
1 hour|1hours|1hou|1H|1D 2H|1Mo|10MIN|1h-30m|1h - 30m|1h+30m|1h + 30m|-1h|+1h|- 1h|--1|2*1h|2 * 1h|2*(1h+30m)|(1h+30m)*2|60/2|1h/2|7//2|7%2|2**10|10**3
3600.0|0x10|0o17|0b11|010|1_000|1,000|1.5.5|1h30|1h30s|1h,30m|soon|10 minuten|1h-|m10|m|h|1d 1|1 1|10 20|1d 2 3|1m1|abc|1 day 2 hours|1 day, 2 hours
1 day and 2 hours|10m # comment| 10m |1.h|.5|.|5.|inf|nan|None|'5'|[5]|(1,2)|(600)|((600))|((1h))|1h*24|24h*7|1h*1h|1h/2h|1/0|1m30|1m 30|1mo 1m|1mo1m|1y6mo
1w2d3h4m5s|2w 3d|1dayx|1hour30min|1hourly|3mo2|1sx|5 d|5dd|5ddd|1m.5|2m.5|1m .5s|.5m.5s|1.5m1.5s|1h 1h|1e1m|1e-3|1E3|1e+3|1e5|3e2s|1²|600;|600+|+600|*600
600 600|0600|00|1h(2)|(1h)(2)|1h 2*3|2*3h|2*3h+1|2 *3 h|24*60*60|365*24*60*60|-1*60|1-2|2-1h|1d-1|1d -1|1d - 1|1d +1|1d +1h|1d*2|1d *2|1d* 2h|1.0|1.10
0.5|0.5h|0.001|0.0001|4294967296|2147483648|1h;1m|1d:2h|1'|1"|5 % 3|-7//2|-7%3|7%-3|-7//-2|7.5//2|-7.5%2|2**-1|2**0.5|-2**2|2**-2**2|2**1h|1 .5|1. 5|0.5.|1h1
30 s|30 seconds|1 month|one hour|1 h 30 m|1 h30 m|1 H 30 M|1hr|1hrs|1 min.|forever|permanent|-1s|-1d|-1 d|-1.5h|-.5h|3.|3.m|1__0|1._5|_1|1_0h|12h0|12h00
12h08|1d08h|08|08h|0008|09m|1h09m|1d 012|1*08|0*08|00*5|08*2|1.08|08.5|2*08.5h|1e08|0.0|00.5|1h1h1h|1 s1s|1,5h|1h 5|1h5|1hh5mm|1s.|1s+.5|1mo.|2 * 24h
2d*24|(2)d|(2)h30|(1+1)h|(1+1) h|2*2d|1+1d|3*1d+1h|1 2 3|10 20 30|1 2 3 4|1d 2h 3m 4s|1	h	30	m|(1h 30m)/2|1h 30m/2|(((2))) m|1h m|1d h 2|2(3)|2 (3)|()|( 1 )|1 -1
-(1h)|-(-1)|+-+1|1*-1|1--1|2**3**2|(2**3)**2|10//3*3|1h//7|1h%7|100%7m|.5.5|1_h|_|1h_|1h_2|9007199254740993|9007199254740993.0|1.|1.+1|1e-3h|1e-3 h|2e+2m`

// TestSecondsOracle compares with the real fail2ban, whose package this needs (make
// test installs it): a table, and texts put together at random.
func TestSecondsOracle(t *testing.T) {
	sequential(t)
	texts := strings.FieldsFunc(times, func(r rune) bool { return r == '|' || r == '\n' })
	if len(texts) < 250 {
		t.Fatalf("%d texts", len(texts))
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SECONDS_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("SECONDS_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	parts := strings.Split("1|2|7|10|24|3600|.5|1.5|0|08|h|m|s|d|w|mo|y|day|hours|sec|min|q| | | | |+|-|*|*|/|//|%|(|)|1h|30m|1d|e|_|.", "|")
	for range 4000 {
		var b strings.Builder
		for range 1 + r.IntN(7) {
			b.WriteString(parts[r.IntN(len(parts))])
		}
		// Towers of powers keep Python busy for hours.
		if text := b.String(); strings.Count(text, "**") == 0 {
			texts = append(texts, text)
		}
	}
	ask, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	out := hosttest.Python(t, nil, string(ask), "testdata/seconds.py")
	var answers []*string
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) != len(texts) {
		t.Fatalf("%d answers to %d texts: %v", len(answers), len(texts), err)
	}
	// What we take beside it, and what has more digits than a number of ours.
	ours := func(text string) bool {
		for _, s := range []string{"mins", "secs", " and "} {
			if strings.Contains(text, s) {
				return true
			}
		}
		return false
	}
	taken, wrong := 0, 0
	for i, text := range texts {
		got, err := ParseSeconds(text)
		printed := "refused"
		if err == nil {
			printed = got.String()
			taken++
		}
		want := "refused"
		if answers[i] != nil && !strings.HasSuffix(*answers[i], "inf") && *answers[i] != "nan" {
			want = *answers[i]
		}
		if printed != want && !ours(text) {
			if wrong++; wrong < 40 {
				t.Errorf("%q: %s (%v), fail2ban: %s", text, printed, err, want)
			}
		}
	}
	t.Logf("%d texts, %d taken", len(texts), taken)
	if taken < 300 {
		t.Errorf("only %d of %d are times", taken, len(texts))
	}
}

func FuzzSeconds(f *testing.F) {
	for _, text := range strings.FieldsFunc(times, func(r rune) bool { return r == '|' || r == '\n' }) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseTime(text)
		if err == nil && (d > LongestTime || d < -LongestTime) {
			t.Errorf("%q: %v", text, d)
		}
		again, _ := ParseTime(text)
		if d != again {
			t.Errorf("%q: %v and %v", text, d, again)
		}
	})
}

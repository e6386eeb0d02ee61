package filter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// jsonFilter finds failures in lines like {"time": …, "status": 401, "ip": "192.0.2.7"}.
func jsonFilter(tb testing.TB) *Filter {
	tb.Helper()
	f, err := Compile(Definition{Name: "json", Failregex: []Expr{}, JSON: &JSON{
		Host: []string{"ip", "request.remote_ip"}, Time: "time", User: "user.name",
		Match: []JSONMatch{{Conditions: []Condition{{Field: "status", Values: []string{"401"}}}}},
	}}, time.UTC)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// TestJSONBefore: what may stand before an object, and lines that are cut off.
func TestJSONBefore(t *testing.T) {
	const object = `{"status":401,"ip":"192.0.2.7"}`
	for _, c := range []struct {
		line   string
		found  bool
		broken bool
	}{
		{line: object, found: true},
		{line: " \t" + object + " ", found: true},
		{line: "\ufeff" + object, found: true},
		{line: "@cee: " + object, found: true},
		{line: "@cee:" + object, found: true},
		{line: object[:len(object)-1], broken: true},
		{line: object + ",", broken: true},
		{line: object + object, broken: true},
		{line: "{" + strings.Repeat("[", 20000), broken: true},
		{line: `{"status":401,"ip":"192.0.2.7","x":` + strings.Repeat("[", 12000) + strings.Repeat("]", 12000) + "}", broken: true},
		{line: "@cee: {", broken: true},
		{line: "starting"},
		{line: "@" + object},
		{line: ""},
		{line: "[" + object + "]"},
	} {
		r := jsonFilter(t).Match([]byte(c.line), proveNow)
		if got := len(r.Failures) > 0; got != c.found || r.Broken != c.broken {
			t.Errorf("%.60s: found %v, broken %v, want %v, %v", c.line, got, r.Broken, c.found, c.broken)
		}
	}
}

// TestJSONTime: whatever stands in the field of the time, it is a time that a log can
// have, or the line has none.
func TestJSONTime(t *testing.T) {
	now := time.Date(2026, 10, 10, 15, 0, 0, 0, time.UTC)
	f := jsonFilter(t)
	const sec = 1791643655
	for _, c := range []struct{ value, want string }{
		{`"Infinity"`, ""},
		{`"-Infinity"`, ""},
		{`"infinity"`, ""},
		{`"+Inf"`, ""},
		{`"inf"`, ""},
		{`"NaN"`, ""},
		{`"nan"`, ""},
		{`1e400`, ""},
		{`"1e400"`, ""},
		{`-1e400`, ""},
		{`9e99`, ""},
		{`"9e99"`, ""},
		{`1e308`, ""},
		{`-1`, ""},
		{`"-1"`, ""},
		{`-1e18`, ""},
		{`99999999999999999999999999999999999999999999`, ""},
		{`18446744073709551616`, "2554-07-21T23:34:33.709553Z"},
		{`32503680001000000000`, ""},
		{`"0x1p40"`, ""},
		{`"1_791_643_655"`, ""},
		{`""`, ""},
		{`" "`, ""},
		{`"-"`, ""},
		{`"."`, ""},
		{`"e"`, ""},
		{`null`, ""},
		{`true`, ""},
		{`{}`, ""},
		{`[]`, ""},
		{`{"time": 1791643655}`, ""},
		{`[1791643655]`, ""},
		{`"` + strings.Repeat("9", 1000) + `"`, ""},
		{`"` + strings.Repeat("x", 1000) + `"`, ""},
		{`0`, "1970-01-01T00:00:00Z"},
		{`-0`, "1970-01-01T00:00:00Z"},
		{`1e-400`, "1970-01-01T00:00:00Z"},
		{`1791643655`, "2026-10-10T14:47:35Z"},
		{`"1791643655"`, "2026-10-10T14:47:35Z"},
		{`" 1791643655 "`, "2026-10-10T14:47:35Z"},
		{`1791643655.467434`, "2026-10-10T14:47:35.467434Z"},
		{`"1791643655.467434"`, "2026-10-10T14:47:35.467434Z"},
		{`1.791643655e9`, "2026-10-10T14:47:35Z"},
		{`1791643655467`, "2026-10-10T14:47:35.467Z"},
		{`"1791643655467"`, "2026-10-10T14:47:35.467Z"},
		{`1.791643655467e12`, "2026-10-10T14:47:35.467Z"},
		{`1791643655467.434`, "2026-10-10T14:47:35.467434Z"},
		{`1791643655467434`, "2026-10-10T14:47:35.467434Z"},
		{`1791643655467434244`, "2026-10-10T14:47:35.467434244Z"},
		{`"1791643655467434244"`, "2026-10-10T14:47:35.467434244Z"},
		{`"2026-10-10T14:47:35.467434244Z"`, "2026-10-10T14:47:35.467434244Z"},
		{`"2026-10-10T14:47:35.467434244123+02:00"`, "2026-10-10T12:47:35.467434244Z"},
		{`"10/Oct/2026:14:47:35 +0200"`, "2026-10-10T12:47:35Z"},
		{`"Oct 10 14:47:35"`, "2026-10-10T14:47:35Z"},
	} {
		line := `{"time": ` + c.value + `, "status": 401, "ip": "192.0.2.7"}`
		r := f.Match([]byte(line), now)
		got := ""
		if r.Dated {
			got = r.Time.UTC().Format(time.RFC3339Nano)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.value, got, c.want)
		}
		if len(r.Failures) != 1 || r.Failures[0].ID != "192.0.2.7" || !r.Failures[0].Time.Equal(r.Time) {
			t.Errorf("%s: %+v", c.value, r.Failures)
		}
	}
	// Parts of seconds count the same, whatever the unit.
	for n, unit := int64(sec), 0; unit < 4; n, unit = n*1000, unit+1 {
		for _, form := range []string{"%d", "%q"} {
			value := fmt.Sprint(n)
			if form == "%q" {
				value = `"` + value + `"`
			}
			if r := f.Match([]byte(`{"status":401,"ip":"192.0.2.7","time":`+value+`}`), now); r.Time.Unix() != sec {
				t.Errorf("%s: %v", value, r.Time)
			}
		}
	}
}

// TestNearlyJSON: what a client can have a common writer put into a line doesn't keep it
// from being read.
func TestNearlyJSON(t *testing.T) {
	f := jsonFilter(t)
	f.Detail = DetailAll
	for _, c := range []struct{ member, user string }{
		{`"x":NaN`, ""},
		{`"x":[Infinity,-Infinity, NaN]`, ""},
		{`"user.name":"a\x22b\x"`, `a\x22b\x`},
		{`"user.name":"a\u12"`, `a\u12`},
		{`"user.name":"a\u123g"`, `a\u123g`},
		{`"user.name":"a` + "\t\x00\x1f" + `b"`, "a   b"},
		{`"user.name":"NaN \" Infinity","x":NaN`, `NaN " Infinity`},
		{`"user.name":"\\","x":NaN`, `\`},
	} {
		r := f.Match([]byte(`{"status":401,`+c.member+`,"ip":"192.0.2.7"}`), time.Time{})
		if len(r.Failures) != 1 || r.Failures[0].ID != "192.0.2.7" {
			t.Errorf("%s: %+v", c.member, r.Failures)
		} else if user, _ := r.Failures[0].Groups["user"].(string); user != c.user {
			t.Errorf("%s: user %q, want %q", c.member, user, c.user)
		}
	}
	for _, bad := range []string{`{"status":401,"ip":"192.0.2.7"`, `{"status":401,"ip":"192.0.2.7","x":"\"}`, `{"status":401,"ip":"192.0.2.7"} {}`, `{"status":401,"ip":"192.0.2.7","x":Nan}`} {
		if r := f.Match([]byte(bad), time.Time{}); len(r.Failures) != 0 {
			t.Errorf("%s: %+v", bad, r.Failures)
		}
	}
}

// FuzzJSON: any line comes to an end, in memory of a small multiple of its length, and
// says only times that a log can have.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`{"time":"Infinity","status":401,"ip":"192.0.2.7"}`, `{"time":1e400,"status":"401","request":{"remote_ip":"[2001:db8::1]:80"}}`,
		`{"time":-1,"status":401,"ip":"192.0.2.7:1","user":{"name":"x"}}`, `{"time":{"time":1}}`, strings.Repeat(`{"a":`, 500), strings.Repeat("[", 12000),
		`{"time":"2026-10-10T14:47:35.467434244Z","status":401,"ip":"::ffff:192.0.2.7"}`, `{} {}`, `{"time":1791643655467434244}`, "{\"\xff\":1}",
		`{"ip":"fe80::1%eth0","status":401}`, `{"a":[[],[],{},0,0,"",null]}`, `{"user.name":"a","user":{"name":"b"},"user":{"name":"c"},"user":1,"request.remote_ip":{}, "request" : { "remote_ip" : "\\u0031" } }`, "\t{ }\n",
		`{"status":401,"x":NaN,"ip":"192.0.2.7","user.name":"\x22"}`, `{"us\u0065r":{"name":true},"status":null,"time":"\ud800\xff"}`,
	} {
		f.Add([]byte(s))
	}
	filter := jsonFilter(f)
	now := time.Date(2026, 10, 10, 15, 0, 0, 0, time.UTC)
	for range 100 { // dates' expressions are compiled when they are first wanted
		filter.Match([]byte(`{"time":"1-1 no date"}`), now)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := filter.Match(line, now)
		runtime.ReadMemStats(&after)
		if took, most := after.TotalAlloc-before.TotalAlloc, uint64(jsonFactor*len(line)+1<<20); took > most {
			t.Errorf("%d bytes took %d of memory, want %d at most", len(line), took, most)
		}
		if r.Dated && (r.Time.Year() < 1 || r.Time.Year() > 9999) {
			t.Errorf("time %v", r.Time)
		}
		all, ok := wholeObject(line)
		if m := mended(bytes.TrimSpace(line)); !ok && m != nil {
			all, ok = wholeObject(m)
		}
		part, okPart := readObject(line, filter.jsonFields)
		if ok != okPart {
			t.Fatalf("an object: %v, want %v", okPart, ok)
		}
		for _, name := range filter.jsonFields {
			want, have := plain(all, name)
			if got, ok := plain(part, name); got != want || ok != have {
				t.Errorf("field %s: %q %v, want %q %v", name, got, ok, want, have)
			}
		}
		for _, x := range r.Failures {
			if !x.Addr.IsValid() || !utf8.ValidString(x.ID) {
				t.Errorf("failure %+v", x)
			}
		}
	})
}

// wholeObject is readObject by the library: all of it.
func wholeObject(line []byte) (map[string]any, bool) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] != '{' {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var out map[string]any
	if err := d.Decode(&out); err != nil {
		return nil, false
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, false
	}
	return out, true
}

func BenchmarkJSON(b *testing.B) {
	line := []byte(`{"level":"info","ts":1791643655.467434,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"192.0.2.7","remote_port":"40312","proto":"HTTP/2.0","method":"GET","host":"www.example.org","uri":"/index.html","headers":{"User-Agent":["curl/8.5.0"],"Accept":["*/*"]}},"duration":0.000212,"size":12250,"status":200,"resp_headers":{"Server":["Caddy"],"Etag":["\\"d3b\\""]}}`)
	f := jsonFilter(b)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		f.Match(line, time.Time{})
	}
}

// jsonFactor is how many bytes a byte of a line may take.
const jsonFactor = 8

// TestJSONMemory: lines of the greatest length that is read, made to take much.
func TestJSONMemory(t *testing.T) {
	f := jsonFilter(t)
	now := time.Date(2026, 10, 10, 15, 0, 0, 0, time.UTC)
	for name, line := range map[string]string{
		"lists":   `{"a":[` + strings.Repeat("[],", 1<<18) + `0],"status":401,"ip":"192.0.2.7"}`,
		"objects": `{"a":[` + strings.Repeat("{},", 1<<18) + `0],"status":401,"ip":"192.0.2.7"}`,
		"members": `{"a":[` + strings.Repeat(`{"":{}},`, 1<<17) + `0],"status":401,"ip":"192.0.2.7"}`,
		"deep":    `{"a":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `,"status":401,"ip":"192.0.2.7"}`,
		"numbers": `{"a":[` + strings.Repeat("1,", 1<<19) + `0],"status":401,"ip":"192.0.2.7"}`,
		"names":   `{` + strings.Repeat(`"":0,`, 1<<17) + `"status":401,"ip":"192.0.2.7"}`,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := f.Match([]byte(line), now)
		runtime.ReadMemStats(&after)
		t.Logf("%s: %.1f bytes a byte", name, float64(after.TotalAlloc-before.TotalAlloc)/float64(len(line)))
		if took := after.TotalAlloc - before.TotalAlloc; took > jsonFactor*uint64(len(line))+1<<20 {
			t.Errorf("%s: %d bytes took %d of memory", name, len(line), took)
		}
		if len(r.Failures) != 1 {
			t.Errorf("%s: %d failures, want 1", name, len(r.Failures))
		}
	}
}

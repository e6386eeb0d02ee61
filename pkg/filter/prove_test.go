package filter

import (
	"testing"
	"time"

	"bailiff/pkg/pyregexp"
)

var proveNow = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// TestProve: planted holes are found, and what has none is proved.
func TestProve(t *testing.T) {
	sequential(t)
	const stamp = "2026-01-31 12:00:00 "
	for _, c := range []struct {
		name   string
		fail   []string
		ignore []string
		pref   string
		line   string
		client map[string]string // part to its characters; "": anything
		want   Verdict
		none   bool // the line tells of nothing
		before string
	}{
		{name: "last", fail: []string{`^ app: login of .* failed from <ADDR>$`}, line: "app: login of bob failed from 192.0.2.7", client: map[string]string{"bob": ""}, want: Proved},
		{name: "unanchored", fail: []string{`failed from <ADDR>`}, line: "app: login of bob failed from 192.0.2.7", client: map[string]string{"bob": ""}, want: Forgeable},
		{name: "no end", fail: []string{`^ app: login of .*? failed from <ADDR>`}, line: "app: login of bob failed from 192.0.2.7", client: map[string]string{"bob": ""}, want: Forgeable},
		{name: "greedy, with something behind", fail: []string{`^ app: login of .* failed from <ADDR>(?: .*)?$`}, line: "app: login of bob failed from 192.0.2.7 agent curl", client: map[string]string{"bob": "", "curl": ""}, want: Forgeable},
		{name: "quoted", fail: []string{`^ app: login of "[^"]*" failed from <ADDR>$`}, line: `app: login of "bob" failed from 192.0.2.7`, client: map[string]string{"bob": `[^"\n]*`}, want: Proved},
		{name: "quoted, but not escaped", fail: []string{`^ app: login of "[^"]*" failed from <ADDR>$`}, line: `app: login of "bob" failed from 192.0.2.7`, client: map[string]string{"bob": ""}, want: Evadable},
		{name: "escaped", fail: []string{`^ app: login of "(?:[^"\\]|\\.)*" failed from <ADDR>$`}, line: `app: login of "bob" failed from 192.0.2.7`, client: map[string]string{"bob": `(?:[^"\\\n]|\\["\\])*`}, want: Proved},
		{name: "word", fail: []string{`^ app: login of \w+ failed from <ADDR>$`}, line: "app: login of bob failed from 192.0.2.7", client: map[string]string{"bob": ""}, want: Evadable},
		{name: "word of words", fail: []string{`^ app: login of \w+ failed from <ADDR>$`}, line: "app: login of bob failed from 192.0.2.7", client: map[string]string{"bob": `\w+`}, want: Proved},
		{name: "lower case", fail: []string{`^ app: login of [a-z]* failed from <ADDR>$`}, line: "app: login of bob failed from 192.0.2.7", client: map[string]string{"bob": `[a-zA-Z]*`}, want: Evadable},
		{name: "any case", fail: []string{`^ app: login of (?i:[a-z])* failed from <ADDR>$`}, line: "app: login of bob failed from 192.0.2.7", client: map[string]string{"bob": `[a-zA-Z]*`}, want: Proved},
		{name: "tempered", fail: []string{`^ app: login of (?:(?! from ).)* failed from <ADDR>`}, line: "app: login of bob failed from 192.0.2.7", client: map[string]string{"bob": `[^\n]*`}, want: Forgeable},
		{name: "look-ahead one character short", fail: []string{`^ app: login of (?:(?! failed fro).)* failed from <ADDR>`}, line: "app: login of bob failed from 192.0.2.7", client: map[string]string{"bob": `[^\n]*`}, want: Forgeable},
		{name: "look-ahead that looks elsewhere", fail: []string{`^ app: login of (?:(?! failed from [a-z]).)*? failed from <ADDR>`}, line: "app: login of bob failed from 192.0.2.7", client: map[string]string{"bob": ""}, want: Forgeable},
		{name: "a later, looser one", fail: []string{`^ app: login of [^ ]* failed from <ADDR>$`, `failed from <ADDR>`}, line: "app: login of bob failed from 192.0.2.7", client: map[string]string{"bob": ""}, want: Forgeable},
		{name: "a looser alternative", fail: []string{`^ app: login of (?:[^ ]*|.*?) failed from <ADDR>(?:$| )`}, line: "app: login of bob failed from 192.0.2.7", client: map[string]string{"bob": ""}, want: Forgeable},
		{name: "optional", fail: []string{`^ app: login of (?:\S+ )?from <ADDR>(?: .*)?$`, `^ app: .* from <ADDR>$`}, line: "app: login of bob from 192.0.2.7", client: map[string]string{"bob": ""}, want: Forgeable},
		{name: "two addresses", fail: []string{`^ app: to <ADDR>, of .*, from \S+$`, `^ app: (?:to \S+, )?of .*, from <ADDR>$`}, line: "app: of bob, from 192.0.2.7", client: map[string]string{"bob": ""}, want: Proved},
		{name: "behind, up to a space", fail: []string{`^ app: from <ADDR> agent .*$`}, line: "app: from 192.0.2.7 agent curl", client: map[string]string{"curl": ""}, want: Proved},
		{name: "behind, greedy before", fail: []string{`^ app: .*from <ADDR> agent .*$`}, line: "app: from 192.0.2.7 agent curl", client: map[string]string{"curl": ""}, want: Forgeable},
		{name: "a name", fail: []string{`^ app: login of .*? from <HOST>`}, line: "app: login of bob from 192.0.2.7", client: map[string]string{"bob": ""}, want: Forgeable},
		{name: "a part of the address", fail: []string{`^ app: login of .*<ADDR>$`}, line: "app: login of bob from 192.0.2.7", client: map[string]string{"bob": ""}, want: ""},
		{name: "digits before", fail: []string{`^ app: id \d*<ADDR> failed$`}, line: "app: id 5192.0.2.7 failed", client: nil, want: ""},
		{name: "ignored", fail: []string{`^ app: login of .* failed from <ADDR>$`}, ignore: []string{`monitor`}, line: "app: login of bob failed from 192.0.2.7", client: map[string]string{"bob": ""}, want: Evadable},
		{name: "prefregex", pref: `^ app: <F-CONTENT>.+</F-CONTENT>$`, fail: []string{`^login of .* failed from <ADDR>$`}, line: "app: login of bob failed from 192.0.2.7", client: map[string]string{"bob": ""}, want: Proved},
		{name: "lazy prefregex", pref: `^ app: <F-CONTENT>.+?</F-CONTENT>(?: \[pre\].*)?$`, fail: []string{`^login of .* failed from <ADDR>`}, line: "app: login of bob failed from 192.0.2.7 [pre]", client: map[string]string{"bob": ""}, want: Forgeable},
		{name: "id", fail: []string{`^ app: login of <F-USER>.*?</F-USER> session <F-ID>\S+</F-ID>`}, line: "app: login of bob session 192.0.2.7", client: map[string]string{"bob": ""}, want: Forgeable},
		{name: "back reference", fail: []string{`^ app: (\w)\1 .* from <ADDR>$`}, line: "app: aa bob from 192.0.2.7", client: map[string]string{"bob": ""}, want: Undecided},
		{name: "not ASCII", fail: []string{`^ app: login of [\x00-\x7f]* failed from <ADDR>$`}, line: "app: login of bob failed from 192.0.2.7", client: map[string]string{"bob": ""}, want: Evadable},
		{name: "a dot is no newline", fail: []string{`^ app: login of .* failed from <ADDR>$`}, line: "app: login of bob failed from 192.0.2.7", client: map[string]string{"bob": `[^\r\n]*`}, want: Proved},
		{name: "another line", fail: []string{`failed from <ADDR>$`}, line: "app: not found: /path", client: map[string]string{"path": ""}, want: Forgeable, none: true},
		{name: "another line, of another kind", fail: []string{`^ app: login of .* failed from <ADDR>$`}, line: "app: not found: /path", client: map[string]string{"path": ""}, want: Proved, none: true},
		{name: "tempered, and the space between is anybody's", fail: []string{`^ app: login of (?:(?! from ).)* from <ADDR>: (?:(?! from ).)*$`}, line: "app: login of bob from 192.0.2.7: no alice", client: map[string]string{"bob": "", "alice": ""}, want: Forgeable},
		{name: "tempered, with no space to share", fail: []string{`^ app: login of (?:(?! from ).)* from <ADDR>: (?:(?!from ).)*$`}, line: "app: login of bob from 192.0.2.7: no alice", client: map[string]string{"bob": "", "alice": ""}, want: Evadable},
		{name: "brackets that swallow", fail: []string{`^ app: "(?:(?! says ").)*" \[<ADDR>\](?: I=\[[^\]]*\])? says "(?:(?! says ").)*$`}, line: `app: "bob" [192.0.2.7] says "alice"`, client: map[string]string{"bob": "", "alice": ""}, want: Forgeable},
		{name: "quoted, with a part in which quotes may be escaped", fail: []string{`^ app: user '(?:[^"\\]|\\.)*?'(?: until [^"]*)?" ip=<ADDR>(?: .*)?$`}, line: `app: user 'bob'" ip=192.0.2.7`, client: map[string]string{"bob": `(?:[^"\\\n]|\\["\\])*`}, want: Forgeable},
		{name: "another format, looser", fail: []string{`^ app: \S+@.* <ADDR> failed$`, `^ app: (?:\S+ )?<ADDR> (?:\S+ )?failed: .*$`}, line: "app: bob@db 192.0.2.7 failed", client: map[string]string{"bob": "", "db": ""}, want: Forgeable},
		{name: "connection", fail: []string{`^ app\[<F-MLFID>\d+</F-MLFID>\]: <F-NOFAIL>connect</F-NOFAIL> from <ADDR>$`, `^ app\[<F-MLFID>\d+</F-MLFID>\]: login of .* failed$`}, before: "app[1]: connect from 192.0.2.7", line: "app[1]: login of bob failed", client: map[string]string{"bob": ""}, want: Proved},
		{name: "connection, some logins only", fail: []string{`^ app\[<F-MLFID>\d+</F-MLFID>\]: <F-NOFAIL>connect</F-NOFAIL> from <ADDR>$`, `^ app\[<F-MLFID>\d+</F-MLFID>\]: login of \S+ failed$`}, before: "app[1]: connect from 192.0.2.7", line: "app[1]: login of bob failed", client: map[string]string{"bob": ""}, want: Evadable},
		{name: "connection, whose number is the client's", fail: []string{`^ app\[<F-MLFID>\d+</F-MLFID>\]: <F-NOFAIL>connect</F-NOFAIL> from <ADDR>$`, `^ app.*\[<F-MLFID>\d+</F-MLFID>\]: login .*failed$`}, before: "app[1]: connect from 192.0.2.7", line: "app[1]: login of bob failed", client: map[string]string{"bob": ""}, want: Evadable},
		{name: "connection, and an address in the line of it", fail: []string{`^ app\[<F-MLFID>\d+</F-MLFID>\]: <F-NOFAIL>connect</F-NOFAIL> from <ADDR>$`, `^ app\[<F-MLFID>\d+</F-MLFID>\]: login of .*?(?: from <ADDR>)? failed`}, before: "app[1]: connect from 192.0.2.7", line: "app[1]: login of bob failed", client: map[string]string{"bob": ""}, want: Forgeable},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := Definition{Name: "x", DatePattern: []string{`{^LN-BEG}`}, Prefregex: Expr{Text: c.pref}}
			for _, s := range c.fail {
				d.Failregex = append(d.Failregex, Expr{Text: s})
			}
			for _, s := range c.ignore {
				d.Ignoreregex = append(d.Ignoreregex, Expr{Text: s})
			}
			p := Probe{Line: stamp + c.line, Host: "192.0.2.7", Now: proveNow}
			if c.before != "" {
				p.Line = stamp + c.before + "\n" + p.Line
			}
			if c.none {
				p.Host = ""
			}
			for text, chars := range c.client {
				one := Chosen{Name: text, Text: text}
				if chars != "" {
					one.Chars = pyregexp.MustCompile(chars, 0)
				}
				p.Client = append(p.Client, one)
			}
			got, err := Prove(d, time.UTC, p)
			if c.want == "" {
				if err == nil {
					t.Errorf("%+v, want an error", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", got)
			if got.Verdict != c.want {
				t.Errorf("%s, want %s", got.Verdict, c.want)
			}
		})
	}
}

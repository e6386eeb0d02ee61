package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/jail"
	"bailiff/pkg/replay"
)

// replayPrinter prints what came of a replay, while it goes on.
type replayPrinter interface {
	begin()
	jail(n int, c *config.Jail)                 // begins one
	ban(several bool) func(b *replay.Ban) error // nil: bans aren't asked for
	sums(r *replay.Report)
	end()
}

func (o *replayOptions) printer() replayPrinter {
	if o.json {
		return &replayJSON{o: o, w: o.out}
	}
	return &replayText{o: o, w: o.out}
}

// replayText prints for people.
type replayText struct {
	o    *replayOptions
	w    *bufio.Writer
	bans int
}

func (p *replayText) begin() {}
func (p *replayText) end()   {}

func (p *replayText) jail(n int, _ *config.Jail) {
	if n > 0 {
		fmt.Fprintln(p.w)
	}
}

func (p *replayText) time(t time.Time) string { return t.In(p.o.location).Format(time.DateTime) }

func (p *replayText) ban(several bool) func(*replay.Ban) error {
	if p.o.summary {
		return nil
	}
	return func(b *replay.Ban) error {
		who, until := ban.Told(b.ID), "for ever"
		if b.Address.IsValid() {
			who = ban.ToldText(b.ID) + " at " + ban.Told(b.Address)
		}
		if !b.End.IsZero() {
			until = fmt.Sprintf("until %s (%s)", p.time(b.End), jail.Span(b.End.Sub(b.Start)))
		}
		name := ""
		if several {
			name = "[" + b.Jail + "] "
		}
		fmt.Fprintf(p.w, "%s  %sBan %s %s, %s", p.time(b.Start), name, who, until, counted(int64(b.Failures), "failure"))
		if b.Count > 1 {
			fmt.Fprintf(p.w, ", time %d", b.Count)
		}
		err := p.w.WriteByte('\n')
		if p.o.lines {
			for _, l := range b.Lines {
				_, err = fmt.Fprintf(p.w, "  | %s\n", l)
			}
		}
		p.bans++
		return err
	}
}

func (p *replayText) sums(r *replay.Report) {
	w := p.w
	if p.bans > 0 {
		fmt.Fprintln(w)
	}
	p.bans = 0
	fmt.Fprintf(w, "jail %s: %s\n", r.Jail, setting(&r.Setting))
	fmt.Fprintf(w, "  read         %s", counted(r.Lines, "line"))
	if !r.First.IsZero() {
		fmt.Fprintf(w, ", failures from %s to %s", p.time(r.First), p.time(r.Last))
	}
	fmt.Fprintf(w, "\n  failures     %s: %s let through, %s shut out\n", grouped(r.Failures), grouped(r.LetThrough), grouped(r.ShutOut))
	fmt.Fprintf(w, "  bans         %s of %s\n", grouped(r.Bans), addresses(r.Banned))
	var not []string
	for _, n := range []struct {
		n    int64
		what string
	}{
		{r.Ignored, "of who is never banned"},
		{r.TooOld, "longer than findtime before the line before them"},
		{r.NamedHosts, "of hosts by name, which were not looked up (usedns = no leaves them out)"},
		{r.Withheld, "of which a client may have written whose they are (proxy.trusted)"},
		{r.Nobody, "of nobody that could be banned"},
	} {
		if n.n > 0 {
			not = append(not, grouped(n.n)+" "+n.what)
		}
	}
	if len(not) > 0 {
		fmt.Fprintf(w, "  not counted  %s\n", strings.Join(not, "\n               "))
	}
	for _, l := range r.Left {
		fmt.Fprintf(w, "  note         %s\n", l)
	}
	if r.KnowsLogins {
		fmt.Fprintf(w, "  logins       %s; %s\n", grouped(r.Logins), hurt(&r.Outcome))
	}
	if p.o.plot {
		p.plot(&r.Chart)
	}
	if len(r.Sweep) > 0 {
		p.table(r)
	}
}

func banTime(d time.Duration) string {
	if d < 0 {
		return "for ever"
	}
	return jail.Span(d)
}

// grouped writes a number with its thousands apart.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// counted is a number of things.
func counted(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return grouped(n) + " " + what
}

func addresses(n int64) string {
	if n == 1 {
		return "1 address"
	}
	return grouped(n) + " addresses"
}

// replayJSON prints one object, bans as they are made.
type replayJSON struct {
	o    *replayOptions
	w    *bufio.Writer
	bans int
}

func (p *replayJSON) begin() { p.w.WriteString("{\"jails\": [") }
func (p *replayJSON) end()   { p.w.WriteString("]}\n") }

func (p *replayJSON) jail(n int, c *config.Jail) {
	if n > 0 {
		p.w.WriteString(",")
	}
	name, _ := json.Marshal(c.Name)
	fmt.Fprintf(p.w, "\n{\"jail\": %s, \"bans\": [", name)
	p.bans = 0
}

func (p *replayJSON) ban(bool) func(*replay.Ban) error {
	if p.o.summary {
		return nil
	}
	return func(b *replay.Ban) error {
		if p.bans > 0 {
			p.w.WriteString(",")
		}
		p.bans++
		return p.object("\n  ", b.Answer(p.o.location))
	}
}

func (p *replayJSON) object(before string, v any) error {
	text, err := marshal(v)
	if err == nil {
		p.w.WriteString(before)
		_, err = p.w.Write(text)
	}
	return err
}

// marshal is json.Marshal that leaves < and > as they are.
func marshal(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return []byte(strings.TrimSuffix(b.String(), "\n")), err
}

func (p *replayJSON) sums(r *replay.Report) {
	text, _ := marshal(r.Answer(p.o.location)) // of what can be
	p.w.WriteString("],\n ")
	p.w.Write(text[1:]) // behind what has begun
}

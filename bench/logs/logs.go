// Package logs writes logs that look like those of real services, for
// measurements: lines of sessions in the proportions in which a host writes them,
// with a share of lines that a filter counts as failures. The same seed makes the
// same log.
package logs

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Options of Write.
type Options struct {
	Kind  string  // one of Kinds
	Lines int     // how many
	Share float64 // of lines that belong to attacks, from 0 to 1
	Seed  uint64
	Start time.Time // of the first line; lines go on at PerSecond
	// PerSecond is how many lines a second has; 0: 20.
	PerSecond int
}

type kind struct {
	stamp          func(time.Time) string
	attack, normal func(g *generator)
}

var kinds = map[string]kind{
	"auth":         {syslogStamp, (*generator).sshAttack, (*generator).authNormal},
	"nginx-access": {nil, (*generator).accessAttack, (*generator).accessNormal},
	"nginx-error":  {nginxStamp, (*generator).nginxAttack, (*generator).nginxNormal},
	"apache-error": {apacheStamp, (*generator).apacheAttack, (*generator).apacheNormal},
	"mail":         {syslogStamp, (*generator).mailAttack, (*generator).mailNormal},
	"dovecot":      {syslogStamp, (*generator).dovecotAttack, (*generator).mailNormal},
	"fail2ban":     {fail2banStamp, (*generator).ban, (*generator).found},
	"syslog":       {syslogStamp, (*generator).mixedAttack, (*generator).mixedNormal},
}

// Kinds returns the kinds of logs.
func Kinds() []string {
	var out []string
	for k := range kinds {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

type generator struct {
	r     *rand.Rand
	kind  kind
	now   time.Time
	queue [][]string // sessions at work, the next line of each first
	pid   int
}

// Write writes a log.
func Write(w io.Writer, o Options) error {
	k, ok := kinds[o.Kind]
	if !ok {
		return fmt.Errorf("unknown kind of log %q: want one of %s", o.Kind, strings.Join(Kinds(), ", "))
	}
	if o.PerSecond <= 0 {
		o.PerSecond = 20
	}
	g := &generator{r: rand.New(rand.NewPCG(o.Seed, 1)), kind: k, pid: 1000}
	// Sessions of both sorts are at work side by side, and their lines come mixed.
	bad, good := &pool{g: g, more: k.attack}, &pool{g: g, more: k.normal}
	out := bufio.NewWriterSize(w, 1<<20)
	for i := range o.Lines {
		g.now = o.Start.Add(time.Duration(i) * time.Second / time.Duration(o.PerSecond))
		p := good
		if g.r.Float64() < o.Share {
			p = bad
		}
		line := p.next()
		switch {
		case k.stamp == nil:
			line = strings.Replace(line, "%t", g.now.Format("02/Jan/2006:15:04:05 -0700"), 1)
		default:
			out.WriteString(k.stamp(g.now))
			out.WriteByte(' ')
		}
		out.WriteString(line)
		out.WriteByte('\n')
	}
	return out.Flush()
}

// pool is sessions of one sort.
type pool struct {
	g        *generator
	more     func(*generator)
	sessions [][]string
}

const atOnce = 8 // sessions of a sort that are at work side by side

func (p *pool) next() string {
	for len(p.sessions) < atOnce {
		p.g.queue = nil
		p.more(p.g)
		p.sessions = append(p.sessions, p.g.queue...)
	}
	i := p.g.r.IntN(len(p.sessions))
	s := p.sessions[i]
	line := s[0]
	if s = s[1:]; len(s) > 0 {
		p.sessions[i] = s
	} else {
		p.sessions = slices.Delete(p.sessions, i, i+1)
	}
	return line
}

func (g *generator) session(lines ...string) { g.queue = append(g.queue, lines) }

func (g *generator) pick(list ...string) string { return list[g.r.IntN(len(list))] }

// process is a new process's number.
func (g *generator) process() int {
	// Up to Linux's pid_max. A number that came again within a log would be taken for
	// the same connection by fail2ban-regex, which forgets by its own clock.
	if g.pid += 1 + g.r.IntN(20); g.pid >= 4194304 {
		g.pid = 1000
	}
	return g.pid
}

// ip is an address of the documentation's, or of its IPv6 network for one in ten.
func (g *generator) ip() string {
	if g.r.IntN(10) == 0 {
		return fmt.Sprintf("2001:db8:%x::%x", g.r.IntN(1<<16), 1+g.r.IntN(1<<16))
	}
	return fmt.Sprintf("%s.%d", g.pick("192.0.2", "198.51.100", "203.0.113"), 1+g.r.IntN(254))
}

func (g *generator) port() int { return 1024 + g.r.IntN(64000) }

func (g *generator) user() string {
	return g.pick("admin", "test", "oracle", "postgres", "ubuntu", "git", "user", "guest", "ftpuser", "minecraft", "pi", "support", "deploy", "www", "nagios")
}

func (g *generator) person() string { return g.pick("alice", "bob", "carol", "dave", "erin") }

func syslogStamp(t time.Time) string   { return t.Format("Jan _2 15:04:05") + " web1" }
func nginxStamp(t time.Time) string    { return t.Format("2006/01/02 15:04:05") }
func apacheStamp(t time.Time) string   { return "[" + t.Format("Mon Jan 02 15:04:05.000000 2006") + "]" }
func fail2banStamp(t time.Time) string { return t.Format("2006-01-02 15:04:05,000") }

package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/logtime"
	"bailiff/pkg/transport"
)

// What is to be said of the lines of a jail's logs.

// fewLines is from how many lines on their share with a date says something.
const fewLines = 3

// sayLines says what is wrong with the lines, the cause before what follows from it.
func (l *look) sayLines(ctx context.Context) {
	c := &l.counts
	if c.lines == 0 {
		return // the log says it
	}
	by, err := l.compile(l.j.Filter)
	if err != nil {
		return
	}
	texts := l.about(by)
	missed := slices.DeleteFunc(slices.Clone(c.missed), func(m missed) bool { return !l.ours(m.program, texts) })
	nobody := c.matched == 0 && c.withheld == 0
	elsewhere := nobody && !l.anyOurs(texts) // no line at all is of the service that the filter is for
	if elsewhere {
		missed = c.missed
	}
	if c.binary*2 > c.lines {
		l.say(Finding{
			Symptom: "lines-encoding", Level: Broken, Cause: fmt.Sprintf("%d of %d lines hold bytes 0: they are of another encoding than %s", c.binary, c.lines, encodingName(l)),
			Seen: []string{l.lastLine()}, Remedy: l.set(l.key("logencoding", "utf-16")) + "\n(or utf-16le, utf-16be)",
		})
		return
	}
	if c.broken*2 > c.lines {
		l.say(Finding{
			Symptom: "lines-json", Level: Broken, Cause: fmt.Sprintf("the filter is for lines of JSON, and %d of %d are none", c.broken, c.lines),
			Seen: []string{l.lastLine()}, Remedy: "have the service log JSON, or name the filter for what it logs",
		})
	}
	if l.j.Filter.JSON == nil && l.logs[0].times == nil && c.lines >= fewLines && c.dated*10 < c.lines && !l.sayWrapped() {
		l.sayUndated(nobody)
	}
	l.sayClock()
	if nobody && c.ignored > 0 && len(missed) == 0 {
		l.say(Finding{
			Symptom: "lines-ignored", Level: Doubtful, Cause: fmt.Sprintf("ignoreregex takes all %d lines that a failregex could match", c.ignored),
			Seen: []string{c.ignoredAt}, Remedy: "make ignoreregex narrower: bailiff explain LINE " + l.j.Filter.Name + " shows which one it is",
		})
	}
	if len(missed) == 0 || slices.ContainsFunc(l.found, func(f Finding) bool { return f.Level == Broken }) {
		return
	}
	switch {
	case elsewhere:
		if fit, ok := l.fits(ctx, missed[max(len(missed)-triedMost, 0):]); ok && !l.hasJail(fit) {
			last := missed[len(missed)-1]
			l.say(Finding{Symptom: fit.symptom, Level: Broken, Cause: fmt.Sprintf("no line is of the service that filter %s is for; %s", l.j.Filter.Name, fit.text), Seen: []string{last.log.place(last.line)}, Remedy: fit.remedy})
		}
	case nobody && len(missed) < fewLines:
	case nobody:
		l.sayMissed(ctx, missed, Broken, fmt.Sprintf("no line matches, and %d look like failures", len(missed)+c.missedMore))
	case len(missed) >= 3 && len(missed)*20 >= c.matched:
		l.sayMissed(ctx, missed, Doubtful, fmt.Sprintf("%d lines look like failures of addresses that none is counted of", len(missed)+c.missedMore))
	}
}

// anyOurs reports whether some line may be of the service that the filter is for.
func (l *look) anyOurs(texts string) bool {
	for program := range l.counts.others {
		if l.ours(program, texts) {
			return true
		}
	}
	return false
}

// hasJail reports whether there is a jail already for what would fit.
func (l *look) hasJail(f fit) bool {
	return slices.ContainsFunc(l.cfg.Jails, func(j *config.Jail) bool { return j != l.j && j.Filter.Name == f.filter })
}

func encodingName(l *look) string {
	if l.j.Encoding == nil {
		return "utf-8"
	}
	return l.j.Encoding.Name
}

// lastLine is the last one of the newest log.
func (l *look) lastLine() string {
	for _, f := range slices.Backward(l.logs) {
		if n := len(f.lines); n > 0 {
			return f.place(n - 1)
		}
	}
	return ""
}

// sayWrapped tells of lines in which a date would be found if transport did not say what stands
// around them.
func (l *look) sayWrapped() bool {
	def := l.j.Filter
	if len(def.Transport) == 0 {
		return false
	}
	def.Transport = nil
	dated, lines, form := l.dates(def)
	if dated*2 <= lines || form == "" {
		return false
	}
	l.say(Finding{
		Symptom: "lines-transport", Level: Broken, Cause: fmt.Sprintf("%d of %d lines have a date with transport = %s; with transport = auto, which takes off %s, %d of the last %d have one", l.counts.dated, l.counts.lines, strings.Join(l.j.Filter.Transport, " "), form, dated, lines),
		Seen: []string{l.lastLine()}, Remedy: "take transport out" + l.placed("transport") + ": what stands around lines is found from them",
	})
	return true
}

// dates is how many of the last lines have a date by another definition, and what is taken off
// them.
func (l *look) dates(def filter.Definition) (dated, lines int, form string) {
	by, err := l.compile(def)
	if err != nil {
		return 0, 0, ""
	}
	for _, log := range l.logs {
		around := transport.New(def.Around())
		for i := max(len(log.lines)-triedMost, 0); i < len(log.lines); i++ {
			l.d.Step()
			if r, _, ok := log.match(by, around, i, l.now); ok {
				lines++
				if r.Dated {
					dated++
				}
			}
		}
		form = around.Form()
	}
	return dated, lines, form
}

// sayUndated tells of lines without dates.
func (l *look) sayUndated(nobody bool) {
	c := &l.counts
	f := Finding{Symptom: "lines-undated", Level: Doubtful, Seen: []string{l.lastLine()}}
	if nobody && len(c.missed) > 0 {
		f.Level = Broken
	}
	f.Cause = fmt.Sprintf("%d of %d lines have a date that is known: the others count as of when they are read", c.dated, c.lines)
	f.Remedy = "have the service write dates, or say what they look like: " + l.set(l.key("datepattern", "%Y-%m-%d %H:%M:%S"))
	if len(l.j.Filter.DatePattern) > 0 {
		def := l.j.Filter
		def.DatePattern = nil
		if dated, lines, _ := l.dates(def); dated*2 > lines {
			f.Symptom, f.Level = "lines-datepattern", Broken
			f.Cause = fmt.Sprintf("datepattern %q finds a date in %d of %d lines; without it, %d of %d have one", strings.Join(l.j.Filter.DatePattern, " "), c.dated, c.lines, dated, lines)
			f.Remedy = "take datepattern out, or make it that of the lines: bailiff explain LINE " + l.j.Filter.Name
			if at := setting(l.j, "datepattern"); at != "" {
				f.Seen = append(f.Seen, at+": datepattern")
			}
		}
	}
	l.say(f)
}

const (
	// clockAllowed is how far a log may be off the clock.
	clockAllowed = 60 * time.Second
	// zoneStep and zoneMost are what zones are apart by, and how far they may be.
	zoneStep, zoneMost = 15 * time.Minute, 14 * time.Hour
)

// sayClock tells of times that are off the clock: a line was written when the file was
// written to last.
func (l *look) sayClock() {
	if len(l.logs) == 0 || l.logs[0].times != nil || l.j.Filter.JSON != nil && l.j.Filter.JSON.Time == "" {
		return
	}
	by, err := l.compile(l.j.Filter)
	if err != nil {
		return
	}
	for _, f := range slices.Backward(l.logs) {
		around := transport.New(l.j.Filter.Around())
		var newest time.Time
		at := 0
		for i := max(len(f.lines)-50, 0); i < len(f.lines); i++ {
			text, frame, ok := around.One(f.lines[i])
			if !ok {
				continue
			}
			if t, ok := by.FramedTime(text, frame, l.now); ok {
				newest, at = t, i
			}
		}
		if newest.IsZero() {
			continue
		}
		written := f.written
		if written.After(l.now.Add(clockAllowed)) && newest.Sub(written).Abs() <= clockAllowed {
			l.say(Finding{
				Symptom: "clock-back", Level: Broken, Cause: fmt.Sprintf("this host's clock is behind: it says %s, and the log was written at %s", wall(l.now), wall(written)),
				Seen: []string{f.place(at)}, Remedy: "set it, and have it kept: timedatectl set-ntp true",
			})
			return
		}
		if written.After(l.now) {
			written = l.now
		}
		ahead := newest.Sub(written)
		if ahead.Abs() <= clockAllowed {
			return
		}
		out := Finding{Level: Doubtful, Seen: []string{f.place(at), fmt.Sprintf("last written to %s, now %s", wall(f.written), wall(l.now))}}
		zone := ahead.Round(zoneStep)
		_, here := newest.In(time.Local).Zone()
		switch {
		case (ahead-zone).Abs() <= clockAllowed && zone != 0 && zone.Abs() <= zoneMost:
			out.Symptom = "lines-zone"
			out.Cause = fmt.Sprintf("the lines' times are %s the clock, as those of another time zone", offBy(ahead))
			offset := time.Duration(here)*time.Second + zone
			if l.j.Filter.LogTimezone != "" {
				out.Seen = append(out.Seen, "logtimezone = "+l.j.Filter.LogTimezone)
				offset = zone // from the one that it says
				if base, ok := logtime.ZoneOffset(l.j.Filter.LogTimezone); ok {
					offset += base
				}
			}
			out.Remedy = "that zone would fit: " + l.set(l.key("logtimezone", zoneName(offset)))
		case newest.After(l.now.Add(clockAllowed)):
			out.Symptom = "lines-future"
			out.Cause = fmt.Sprintf("the newest line is of the future, %s the clock: this host's clock is behind, or the writer's is ahead", offBy(newest.Sub(l.now)))
			out.Remedy = "set the clocks: timedatectl; chronyc tracking"
		case -ahead > max(l.j.FindTime, 10*time.Minute) && l.now.Sub(f.written) < 24*time.Hour:
			out.Symptom, out.Level = "lines-clock", Broken
			out.Cause = fmt.Sprintf("the lines' times are %s the clock, and no time zone explains it: older than findtime, they count for nothing", offBy(ahead))
			out.Remedy = "set the writer's clock; or, if the file was copied or written anew, wait for new lines"
		default:
			return
		}
		l.say(out)
		return
	}
}

func wall(t time.Time) string { return t.Local().Format(time.DateTime) }

// offBy says by how much times are ahead of the clock, or behind it.
func offBy(ahead time.Duration) string {
	word := "ahead of"
	if ahead < 0 {
		ahead, word = -ahead, "behind"
	}
	const minute = time.Minute
	var text string
	switch {
	case ahead > 48*time.Hour:
		text = fmt.Sprintf("%d days", ahead/(24*time.Hour))
	case ahead.Round(minute)%time.Hour == 0:
		text = fmt.Sprintf("%dh", ahead.Round(minute)/time.Hour)
	case ahead >= time.Hour:
		text = fmt.Sprintf("%dh%dm", ahead.Round(minute)/time.Hour, ahead.Round(minute)%time.Hour/minute)
	default:
		text = ahead.Round(time.Second).String()
	}
	return text + " " + word
}

// zoneName is a zone as logtimezone takes it.
func zoneName(offset time.Duration) string {
	if offset == 0 {
		return "UTC"
	}
	sign := '+'
	if offset < 0 {
		sign, offset = '-', -offset
	}
	return fmt.Sprintf("UTC%c%02d%02d", sign, int(offset.Hours()), int(offset.Minutes())%60)
}

// sayMissed tells of lines that look like failures, and of what would take them.
func (l *look) sayMissed(ctx context.Context, missed []missed, level Level, cause string) {
	f := Finding{Symptom: "lines-missed", Level: level, Cause: cause}
	last := missed[len(missed)-1]
	f.Seen = append(f.Seen, last.log.place(last.line))
	f.Remedy = "see what the filter lacks: bailiff explain LINE " + l.j.Filter.Name + "; or have one proposed: bailiff filter new"
	tried := missed[max(len(missed)-triedMost, 0):]
	if fit, ok := l.fits(ctx, tried); ok {
		f.Symptom, f.Remedy = fit.symptom, fit.remedy
		f.Cause += "; " + fit.text
	} else if level == Doubtful && len(l.j.Filter.Ignoreregex) == 0 && len(missed) < 10 {
		return // words alone are not enough
	}
	l.say(f)
}

// takes is how many of some lines a definition finds failures in.
func (l *look) takes(def filter.Definition, lines []missed) int {
	by, err := l.compile(def)
	if err != nil {
		return 0
	}
	n := 0
	around := map[*logFile]*transport.Log{}
	for _, m := range lines {
		l.d.Step()
		if around[m.log] == nil {
			around[m.log] = transport.New(def.Around())
		}
		if r, _, ok := m.log.match(by, around[m.log], m.line, l.now); ok && slices.ContainsFunc(r.Failures, func(x filter.Failure) bool { return !x.NoFail && !x.Pending }) {
			n++
		}
	}
	return n
}

package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/control"
	"bailiff/pkg/filter"
	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/scan"
	"bailiff/pkg/tags"
)

// failures prints what -o asks for.
func (o *regexOptions) failures(f *filter.Filter, log *logInput, names *resolver) error {
	w := bufio.NewWriterSize(o.out, 64<<10)
	defer w.Flush()
	warns, tags := o.warns(), strings.Contains(o.format, "<")
	one := func(line []byte, r *filter.Result) error {
		if r.Err != nil {
			return r.Err
		}
		if o.invert {
			if len(r.Failures) > 0 {
				return nil
			}
			r.Failures = []filter.Failure{f.Unmatched(line)}
		}
		var wrapped []func()
		for i := range r.Failures {
			x := &r.Failures[i]
			if !o.invert && warns {
				w.Flush()
				o.warnUndated(x, r, line)
			}
			if !tags && !x.Pending && !x.Name {
				printField(w, o.format, x, x.ID)
				continue
			}
			for _, id := range failureIDs(x, names) {
				if !tags {
					printField(w, o.format, x, id)
					continue
				}
				text, multi, err := fillIn(o.format, x, id)
				if err != nil {
					return err
				}
				if !multi && len(wrapped) == 0 {
					fmt.Fprintln(w, text)
					continue
				}
				wrapped = append(wrapped, func() {
					for _, l := range x.Lines {
						fmt.Fprintln(w, strings.ReplaceAll(text, msgMark, l.String()))
					}
				})
			}
		}
		for _, print := range wrapped {
			print()
		}
		return nil
	}
	if log.from != nil && !o.invert && !warns {
		return log.inBlocks(f, o.clock, scan.Listener{Each: one})
	}
	return log.each(func(line []byte) error {
		if log.comment(line) {
			return nil
		}
		r := log.match(f, line, o.clock())
		return one(line, &r)
	})
}

// printField prints one thing of a failure: its id, ip, msg, row, or a group.
func printField(w io.Writer, field string, x *filter.Failure, id string) {
	switch field {
	case "id", "fid":
		_, _ = io.WriteString(w, id) // an error stays with w
		_, _ = io.WriteString(w, "\n")
	case "ip":
		fmt.Fprintln(w, failureIP(x, id))
	case "msg":
		for _, l := range x.Lines {
			fmt.Fprintln(w, l)
		}
	case "row":
		dict := pyDict(slices.DeleteFunc(slices.Clone(x.Order), func(k string) bool { return k == "matches" }), func(k string) any { return dictValue(x, k) })
		fmt.Fprintf(w, "[%s,\t%s,\t%s],\n", control.ReprString(id), x.Epoch(), dict)
	default:
		switch v := dictValue(x, field).(type) {
		case string:
			fmt.Fprintln(w, v)
		default:
			fmt.Fprintln(w, pyValue(v))
		}
	}
}

func failureIP(x *filter.Failure, id string) string {
	if x.IP.IsValid() {
		return x.IP.String()
	}
	return id
}

// dictValue is what fail2ban keeps of a failure under a name.
func dictValue(x *filter.Failure, name string) any {
	switch {
	case name == "matches":
		return pyLines(x.Lines)
	case name == "nofail-matches" && len(x.NofailLines) > 0:
		return pyLines(x.NofailLines)
	case name == "users" && len(x.Users) > 0:
		return pySet(x.Users)
	case name == "ip" && x.IP.IsValid():
		return x.IP.String()
	case name == "mlfpending" && x.Pending:
		return 1
	}
	return x.Groups[name]
}

func pyLines(lines []filter.Line) pyRaw {
	parts := make([]string, len(lines))
	for i, l := range lines {
		parts[i] = pyValue([]string{l.Before, l.Date, l.After})
	}
	return pyRaw("[" + strings.Join(parts, ", ") + "]")
}

var groupTag = lazyregexp.New(`<F-([A-Z0-9_\-]+)>`)

// msgMark stands for <msg> in a text that is printed for each line of a failure.
const msgMark = "\x00msg\x00"

// fillIn replaces tags like <ip> and <F-USER>. multi says that the text is to be
// printed for each line of the failure.
func fillIn(format string, x *filter.Failure, id string) (text string, multi bool, err error) {
	t := ticket(x, id)
	text = tags.Tag.ReplaceAllStringFunc(format, func(tag string) string {
		name := tag[1 : len(tag)-1]
		if name == "msg" {
			if !multi && len(x.Lines) <= 1 {
				name = "matches"
			} else {
				multi = true
				return msgMark
			}
		}
		value, known := t.Tag(name)
		switch name {
		case "br":
			return "\n"
		case "sp":
			return " "
		case "bantime":
			known = false
		}
		if !known {
			if slices.Contains(jailTags, name) && err == nil {
				err = fmt.Errorf("-o: %s is known of a ban in a jail only", tag)
			}
			return tag
		}
		return strings.ReplaceAll(value, "\x00", `\x00`)
	})
	text = groupTag.ReplaceAllStringFunc(text, func(tag string) string {
		name := tags.GroupName(tag[3 : len(tag)-1])
		if !slices.Contains(x.Order, name) {
			return ""
		}
		switch v := dictValue(x, name).(type) {
		case string:
			return strings.ReplaceAll(v, "\x00", `\x00`)
		default:
			return pyValue(v)
		}
	})
	return text, multi, err
}

// jailTags need a jail or a database.
var jailTags = []string{
	"bantime", "ipmatches", "ipjailmatches", "ipfailures", "ipjailfailures", "raw-ticket",
	"jail.banned", "jail.banned_total", "jail.found", "jail.found_total",
}

// ticket is a failure as tags tell of it.
func ticket(x *filter.Failure, id string) *action.Ticket {
	t := &action.Ticket{ID: id, Time: x.Epoch(), Groups: map[string]string{}, Host: func(ctx context.Context, a netip.Addr) string {
		names, err := net.DefaultResolver.LookupAddr(ctx, a.String())
		if err != nil || len(names) == 0 {
			return ""
		}
		return strings.TrimSuffix(names[0], ".")
	}}
	if p := filter.ParseID(failureIP(x, id), -1); p.IsValid() {
		t.IP = p.Addr()
	}
	for _, l := range x.Lines {
		t.Matches = append(t.Matches, l.String())
	}
	return t
}

// lineResult is what --json prints of a line.
type lineResult struct {
	N        int           `json:"n"`
	Line     string        `json:"line"`
	Failures []lineFailure `json:"failures"`
	Ignored  bool          `json:"ignored"`
}

type lineFailure struct {
	ID     string        `json:"id"`
	Time   *int64        `json:"time"` // epoch seconds; null if none is known
	Regex  int           `json:"regex"`
	Groups filter.Groups `json:"groups"`
}

func (o *regexOptions) jsonLines(f *filter.Filter, log *logInput, names *resolver) error {
	out := bufio.NewWriter(o.out)
	defer out.Flush()
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	n := 0
	return log.each(func(line []byte) error {
		n++
		r := log.match(f, line, o.clock())
		if r.Err != nil {
			return fmt.Errorf("line %d: %w", n, r.Err)
		}
		res := lineResult{N: n, Line: log.text(line), Failures: []lineFailure{}, Ignored: r.Ignored >= 0}
		for i := range r.Failures {
			x := &r.Failures[i]
			for _, id := range failureIDs(x, names) {
				res.Failures = append(res.Failures, lineFailure{ID: id, Time: unixOrNil(x.Time), Regex: x.Regex, Groups: x.Groups})
			}
		}
		return enc.Encode(res)
	})
}

func unixOrNil(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	sec := t.Unix()
	return &sec
}

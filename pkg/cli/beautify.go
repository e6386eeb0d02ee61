package cli

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"bailiff/pkg/control"
)

// beautify writes an answer as fail2ban-client does.
func beautify(cmd []string, v any) string {
	list := items(v)
	at := func(i int) string {
		if i < len(cmd) {
			return cmd[i]
		}
		return ""
	}
	switch cmd[0] {
	case "ping":
		return "Server replied: " + pyPrint(v)
	case "start":
		return "Jail started"
	case "stop":
		if v == nil {
			if len(cmd) == 1 {
				return "Shutdown successful"
			}
			return "Jail stopped"
		}
	case "add":
		return "Added jail " + pyPrint(v)
	case "flushlogs":
		return "logs: " + pyPrint(v)
	case "echo":
		return strings.Join(texts(list), " ")
	case "stats", "statistic", "statistics":
		if d, ok := v.(control.Dict); ok {
			return statistics(d, linesHere())
		}
	case "status":
		if len(cmd) > 1 && cmd[1] != "--all" {
			return statusOf(cmd[1], v)
		}
		return statusServer(list)
	}
	if len(cmd) < 2 {
		return pyPrint(v)
	}
	none := v == nil
	switch at(1) {
	case "syslogsocket":
		return "Current syslog socket is:\n`- " + pyPrint(v)
	case "logtarget":
		return "Current logging target is:\n`- " + pyPrint(v)
	case "loglevel":
		return "Current logging level is " + control.Repr(v)
	case "dbfile":
		if none {
			return "Database currently disabled"
		}
		return "Current database file is:\n`- " + pyPrint(v)
	case "dbpurgeage":
		if none {
			return "Database currently disabled"
		}
		return "Current database purge age is:\n`- " + pyPrint(v) + "seconds"
	}
	if len(cmd) < 3 {
		return pyPrint(v)
	}
	tree := func(empty, head string, line func(i int, s string) string) string {
		if len(list) == 0 {
			return empty
		}
		var b strings.Builder
		b.WriteString(head)
		for i, s := range texts(list) {
			mark := "|- "
			if i == len(list)-1 {
				mark = "`- "
			}
			b.WriteString("\n" + mark + line(i, s))
		}
		return b.String()
	}
	plain := func(_ int, s string) string { return s }
	switch what := at(2); what {
	case "logpath", "addlogpath", "dellogpath":
		return tree("No file is currently monitored", "Current monitored log file(s):", plain)
	case "logencoding":
		return "Current log encoding is set to:\n" + pyPrint(v)
	case "journalmatch", "addjournalmatch", "deljournalmatch":
		if len(list) == 0 {
			return "No journal match filter set"
		}
		var all []string
		for _, m := range list {
			all = append(all, strings.Join(texts(items(m)), " "))
		}
		return "Current match filter:\n" + strings.Join(all, " + ")
	case "datepattern":
		pair, ok := v.(control.Tuple)
		switch {
		case !ok || len(pair) != 2:
			return "Current date pattern set to: Not set/required"
		case pair[0] == nil:
			return "Current date pattern set to: " + pyPrint(pair[1])
		}
		return fmt.Sprintf("Current date pattern set to: %s (%s)", pyPrint(pair[0]), pyPrint(pair[1]))
	case "ignoreip", "addignoreip", "delignoreip":
		return tree("No IP address/network is ignored", "These IP addresses/networks are ignored:", plain)
	case "failregex", "addfailregex", "delfailregex", "ignoreregex", "addignoreregex", "delignoreregex":
		return tree("No regular expression is defined", "The following regular expression are defined:",
			func(i int, s string) string { return fmt.Sprintf("[%d]: %s", i, s) })
	case "actions":
		if len(list) == 0 {
			return "No actions for jail " + at(1)
		}
		return "The jail " + at(1) + " has the following actions:\n" + strings.Join(texts(list), ", ")
	case "actionproperties", "actionmethods":
		kind := strings.TrimPrefix(what, "action")
		if len(list) == 0 {
			return fmt.Sprintf("No %s for jail %s action %s", kind, at(1), at(3))
		}
		return fmt.Sprintf("The jail %s action %s has the following %s:\n%s", at(1), at(3), kind, strings.Join(texts(list), ", "))
	case "banip":
		if cmd[0] == "get" && v != nil {
			between := " "
			if len(cmd) > 3 {
				between = cmd[3]
			}
			if between == "--with-time" {
				between = "\n"
			}
			return strings.Join(texts(list), between)
		}
	}
	return pyPrint(v)
}

func texts(list control.List) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = pyPrint(v)
	}
	return out
}

// branch returns the marks of the i-th of n branches of a tree: its own, and that of what
// hangs on it.
func branch(i, n int) (mark, below string) {
	if i == n-1 {
		return "`- ", "   "
	}
	return "|- ", "|  "
}

// statusServer is the answer to status, or to status --all, which ends with all jails.
func statusServer(list control.List) string {
	out := []string{"Status"}
	var jails control.Dict
	if n := len(list); n > 0 {
		if d, ok := list[n-1].(control.Dict); ok {
			jails, list = d, list[:n-1]
		}
	}
	all := len(list)
	if len(jails.Keys) > 0 {
		all++
	}
	for i, v := range list {
		mark, _ := branch(i, all)
		name, value := pair(v)
		out = append(out, mark+name+":\t"+statusValue(value))
	}
	if len(jails.Keys) == 0 {
		return strings.Join(out, "\n")
	}
	out = append(out, "`- Status for the jails:")
	for i, n := range jails.Keys {
		mark, below := branch(i, len(jails.Keys))
		out = append(out, "   "+mark+"Jail: "+n)
		out = append(out, statusTree(jails.Values[n], "   "+below)...)
	}
	return strings.Join(out, "\n")
}

func statusOf(name string, v any) string {
	list := items(v)
	ok := list != nil
	for _, part := range list {
		_, inner := pair(part)
		ok = ok && items(inner) != nil
	}
	if !ok {
		return pyPrint(v) // numbers alone: status JAIL stats
	}
	return strings.Join(append([]string{"Status for the jail: " + name}, statusTree(v, "")...), "\n")
}

// statusTree is a jail's status as a tree.
func statusTree(v any, indent string) (out []string) {
	list := items(v)
	for i, part := range list {
		mark, below := branch(i, len(list))
		title, inner := pair(part)
		out = append(out, indent+mark+title)
		rows := items(inner)
		for k, row := range rows {
			mark, _ := branch(k, len(rows))
			name, value := pair(row)
			out = append(out, indent+below+mark+name+":\t"+statusValue(value))
		}
	}
	return out
}

// The lines of fail2ban's table of statistics.
type tableLines struct{ column, row, left, cross, head, foot, inner, thin string }

var (
	linesText = tableLines{"|", "-", "|", "x", "x", "-", "|", "-"}
	linesBox  = tableLines{"║", "═", "╟", "╫", "╬", "╩", "│", "─"}
)

// statistics is a table of all jails' numbers, as fail2ban 1.1 prints it.
func statistics(d control.Dict, l tableLines) string {
	if len(d.Keys) == 0 {
		return "No jails found."
	}
	width := [6]int{8, 8, 3, 3, 3, 3}
	var rows [][6]string
	for _, n := range d.Keys {
		row := [6]string{n}
		cells := []string{}
		for _, v := range items(d.Values[n]) {
			if t := items(v); t != nil {
				cells = append(cells, texts(t)...)
				continue
			}
			cells = append(cells, pyPrint(v))
		}
		copy(row[1:], cells)
		rows = append(rows, row)
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	line := func(c [6]string) string {
		return fmt.Sprintf(" %-*s %s %-*s %s %*s %s %*s %s %*s %s %*s", width[0], c[0], l.column, width[1], c[1],
			l.column, width[2], c[2], l.inner, width[3], c[3], l.column, width[4], c[4], l.inner, width[5], c[5])
	}
	parts := [4]int{width[0], width[1], width[2] + 3 + width[3], width[4] + 3 + width[5]}
	rule := func(cross string) string {
		var cells []string
		for _, n := range parts {
			cells = append(cells, strings.Repeat(l.row, n))
		}
		return l.row + strings.Join(cells, l.row+cross+l.row) + l.row
	}
	out := []string{
		fmt.Sprintf(" %*s %s %*s %s %-*s %s %-*s", parts[0], "", l.column, parts[1], "", l.column, parts[2], "Filter", l.column, parts[3], "Actions"),
		fmt.Sprintf(" %-*s %s %-*s %s%s%s%s", parts[0], "Jail", l.column, parts[1], "Backend", l.left, strings.Repeat(l.thin, parts[2]+2), l.cross, strings.Repeat(l.thin, parts[3]+2)),
		line([6]string{"", "", "cur", "tot", "cur", "tot"}), rule(l.head),
	}
	for _, r := range rows {
		out = append(out, line(r))
	}
	return strings.Join(append(out, rule(l.foot)), "\n")
}

// linesHere are those that a terminal can show, going by its locale.
func linesHere() tableLines {
	_, charset, named := strings.Cut(cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_CTYPE"), os.Getenv("LANG")), ".")
	if named && !strings.EqualFold(strings.ReplaceAll(charset, "-", ""), "utf8") {
		return linesText
	}
	return linesBox
}

// items are those of a list or a tuple; nil: it is none.
func items(v any) control.List {
	switch v := v.(type) {
	case control.List:
		return v
	case control.Tuple:
		return control.List(v)
	}
	return nil
}

func pair(v any) (name string, value any) {
	if t := items(v); len(t) == 2 {
		return pyPrint(t[0]), t[1]
	}
	return "", v
}

func statusValue(v any) string {
	if list := items(v); list != nil {
		return strings.Join(texts(list), " ")
	}
	return pyPrint(v)
}

// pyPrint is what Python prints of a value: a string as it stands, the repr of
// everything else.
func pyPrint(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return control.Repr(v)
}

func pyList(list []string) string { return "[" + pyStrings(list) + "]" }

package cli

import (
	"fmt"
	"slices"
	"strings"

	"bailiff/pkg/control"
)

// beautify writes an answer as fail2ban-client does.
func beautify(cmd []string, v any) string {
	list, _ := v.(control.List)
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
			return statistics(d)
		}
	case "status":
		if len(cmd) > 1 {
			if d, ok := v.(control.Dict); ok {
				return statusAll(d)
			}
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
			words, _ := m.(control.List)
			all = append(all, strings.Join(texts(words), " "))
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

func statusServer(list control.List) string {
	out := []string{"Status"}
	for i, v := range list {
		mark := "|-"
		if i == len(list)-1 {
			mark = "`-"
		}
		name, value := pair(v)
		out = append(out, mark+" "+name+":\t"+statusValue(value))
	}
	return strings.Join(out, "\n")
}

func statusOf(name string, v any) string {
	out := []string{"Status for the jail: " + name}
	list, ok := v.(control.List)
	if !ok {
		return pyPrint(v)
	}
	for i, part := range list {
		mark, indent := "|-", "|  "
		if i == len(list)-1 {
			mark, indent = "`-", "   "
		}
		title, inner := pair(part)
		out = append(out, mark+" "+title)
		rows, _ := inner.(control.List)
		for k, row := range rows {
			mark := "|-"
			if k == len(rows)-1 {
				mark = "`-"
			}
			name, value := pair(row)
			out = append(out, indent+mark+" "+name+":\t"+statusValue(value))
		}
	}
	return strings.Join(out, "\n")
}

func statusAll(d control.Dict) string {
	names := slices.Sorted(slices.Values(d.Keys))
	var out []string
	for _, n := range names {
		out = append(out, statusOf(n, d.Values[n]))
	}
	return strings.Join(out, "\n\n")
}

// statistics is a table of all jails' numbers.
func statistics(d control.Dict) string {
	rows := [][6]string{{"Jail", "Backend", "failed now", "in all", "banned now", "in all"}}
	for _, n := range slices.Sorted(slices.Values(d.Keys)) {
		row := [6]string{n}
		list, _ := d.Values[n].(control.List)
		var cells []string
		for _, v := range list {
			if t, ok := v.(control.Tuple); ok {
				for _, x := range t {
					cells = append(cells, pyPrint(x))
				}
				continue
			}
			cells = append(cells, pyPrint(v))
		}
		copy(row[1:], cells)
		rows = append(rows, row)
	}
	var width [6]int
	for _, r := range rows {
		for i, c := range r {
			width[i] = max(width[i], len(c))
		}
	}
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = fmt.Sprintf("%-*s  %-*s  %*s  %*s  %*s  %*s", width[0], r[0], width[1], r[1], width[2], r[2], width[3], r[3], width[4], r[4], width[5], r[5])
	}
	return strings.Join(out, "\n")
}

func pair(v any) (name string, value any) {
	if t, ok := v.(control.Tuple); ok && len(t) == 2 {
		return pyPrint(t[0]), t[1]
	}
	return "", v
}

func statusValue(v any) string {
	if list, ok := v.(control.List); ok {
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

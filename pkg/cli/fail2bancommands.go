package cli

import (
	"fmt"
	"io"
	"strings"
)

// clientCommands are what fail2ban-client can be asked, by group. Completion of shells
// reads them from its help: four blanks, the command, its meaning from column 46 on.
var clientCommands = []struct{ command, does string }{
	{"", "BASIC"},
	{"start", "start the server and its jails"},
	{"restart", "stop the server and start it anew"},
	{"restart [--unban] [--if-exists] <JAIL>", "the same as reload --restart ... <JAIL>"},
	{"reload [--restart] [--unban] [--all]", "read the configuration anew; with --restart every jail starts again, with --unban without its bans"},
	{"reload [--restart] [--unban] [--if-exists] <JAIL>", "the same for one jail"},
	{"stop", "stop all jails and the server"},
	{"unban --all", "lift all bans of all jails"},
	{"unban <IP> ... <IP>", "lift the bans of these in all jails"},
	{"banned", "which jail bans whom"},
	{"banned <IP> ... <IP>", "which jails ban these"},
	{"status", "number and names of the jails"},
	{"status --all [FLAVOR]", "what every jail is doing; FLAVOR is basic, stats, short or cymru"},
	{"stat[istic]s", "numbers of all jails, as a table"},
	{"ping", "see whether the server answers"},
	{"echo", "have a text back"},
	{"version", "the version of the server"},
	{"", "LOGGING"},
	{"set loglevel <LEVEL>", "CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG, TRACEDEBUG, HEAVYDEBUG, or a number from 50 to 5"},
	{"get loglevel", "the level of the log"},
	{"set logtarget <TARGET>", "STDOUT, STDERR, SYSLOG, SYSTEMD-JOURNAL or a file"},
	{"get logtarget", "where the log goes"},
	{"set syslogsocket auto|<SOCKET>", "the socket of syslog"},
	{"get syslogsocket", "the socket of syslog"},
	{"flushlogs", "open the log's file again, after a rotation"},
	{"", "DATABASE"},
	{"set dbfile <FILE>", "the file of the database, or None"},
	{"get dbfile", "the file of the database"},
	{"set dbmaxmatches <INT>", "how many lines of a ban the database keeps"},
	{"get dbmaxmatches", "how many lines of a ban the database keeps"},
	{"set dbpurgeage <SECONDS>", "how long ended bans are remembered"},
	{"get dbpurgeage", "how long ended bans are remembered"},
	{"", "JAIL CONTROL"},
	{"add <JAIL> <BACKEND>", "make a jail that reads by this backend"},
	{"start <JAIL>", "start a jail"},
	{"stop <JAIL>", "stop a jail, and forget it"},
	{"status <JAIL> [FLAVOR]", "what a jail is doing, and its bans; FLAVOR as above"},
	{"", "JAIL CONFIGURATION"},
	{"set <JAIL> idle on|off", "have a jail look at nothing for a while"},
	{"set <JAIL> ignoreself true|false", "whether this host's own addresses are never banned"},
	{"set <JAIL> addignoreip <IP>", "never ban this one"},
	{"set <JAIL> delignoreip <IP>", "take it off that list again"},
	{"set <JAIL> ignorecommand <VALUE>", "a command that says who is not banned"},
	{"set <JAIL> ignorecache <VALUE>", "how long its answers hold"},
	{"set <JAIL> addlogpath <FILE> ['tail']", "follow a file too, from its beginning or its end"},
	{"set <JAIL> dellogpath <FILE>", "follow it no more"},
	{"set <JAIL> logencoding <ENCODING>", "the encoding of the logs"},
	{"set <JAIL> addjournalmatch <MATCH>", "read these entries of the journal, too"},
	{"set <JAIL> deljournalmatch <MATCH>", "read them no more"},
	{"set <JAIL> addfailregex <REGEX>", "an expression more for failures"},
	{"set <JAIL> delfailregex <INDEX>", "remove one by its number"},
	{"set <JAIL> addignoreregex <REGEX>", "an expression more for lines to leave out"},
	{"set <JAIL> delignoreregex <INDEX>", "remove one by its number"},
	{"set <JAIL> findtime <TIME>", "in what time failures count together"},
	{"set <JAIL> bantime <TIME>", "how long a ban lasts"},
	{"set <JAIL> datepattern <PATTERN>", "how dates look in the log"},
	{"set <JAIL> usedns <VALUE>", "what becomes of host names: yes, warn, no, raw"},
	{"set <JAIL> attempt <IP> [<failure1> ... <failureN>]", "count a failure by hand"},
	{"set <JAIL> banip <IP> ... <IP>", "ban by hand"},
	{"set <JAIL> unbanip [--report-absent] <IP> ... <IP>", "lift bans by hand"},
	{"set <JAIL> maxretry <RETRY>", "how many failures lead to a ban"},
	{"set <JAIL> maxmatches <INT>", "how many lines of an address are kept in memory"},
	{"set <JAIL> maxlines <LINES>", "how many lines an expression may go over"},
	{"set <JAIL> addaction <ACT>[ <PYTHONFILE> <JSONKWARGS>]", "add an action of this name"},
	{"set <JAIL> delaction <ACT>", "remove an action"},
	{"", "COMMAND ACTION CONFIGURATION"},
	{"set <JAIL> action <ACT> actionstart <CMD>", "the command that starts an action"},
	{"set <JAIL> action <ACT> actionstop <CMD>", "the one that stops it"},
	{"set <JAIL> action <ACT> actioncheck <CMD>", "the one that looks whether it is whole"},
	{"set <JAIL> action <ACT> actionban <CMD>", "the one that bans"},
	{"set <JAIL> action <ACT> actionunban <CMD>", "the one that lifts a ban"},
	{"set <JAIL> action <ACT> timeout <TIMEOUT>", "how many seconds a command may take"},
	{"", "GENERAL ACTION CONFIGURATION"},
	{"set <JAIL> action <ACT> <PROPERTY> <VALUE>", "set a property of an action"},
	{"set <JAIL> action <ACT> <METHOD>[ <JSONKWARGS>]", "call a method of an action"},
	{"", "JAIL INFORMATION"},
	{"get <JAIL> banned", "whom the jail bans"},
	{"get <JAIL> banned <IP> ... <IP>", "1 for each that is banned, else 0"},
	{"get <JAIL> logpath", "the files that are followed"},
	{"get <JAIL> logencoding", "the encoding of the logs"},
	{"get <JAIL> journalmatch", "the entries of the journal that are read"},
	{"get <JAIL> ignoreself", "whether own addresses are never banned"},
	{"get <JAIL> ignoreip", "who is never banned"},
	{"get <JAIL> ignorecommand", "the command that says who is not banned"},
	{"get <JAIL> failregex", "the expressions for failures"},
	{"get <JAIL> ignoreregex", "the expressions for lines to leave out"},
	{"get <JAIL> findtime", "in what time failures count together"},
	{"get <JAIL> bantime", "how long a ban lasts"},
	{"get <JAIL> datepattern", "how dates look in the log"},
	{"get <JAIL> usedns", "what becomes of host names"},
	{"get <JAIL> banip [<SEP>|--with-time]", "whom the jail bans, by the end of the ban, with <SEP> between them, or with times"},
	{"get <JAIL> maxretry", "how many failures lead to a ban"},
	{"get <JAIL> maxmatches", "how many lines of an address are kept"},
	{"get <JAIL> maxlines", "how many lines an expression may go over"},
	{"get <JAIL> actions", "the names of the jail's actions"},
	{"", "COMMAND ACTION INFORMATION"},
	{"get <JAIL> action <ACT> actionstart", "the command that starts an action"},
	{"get <JAIL> action <ACT> actionstop", "the one that stops it"},
	{"get <JAIL> action <ACT> actioncheck", "the one that looks whether it is whole"},
	{"get <JAIL> action <ACT> actionban", "the one that bans"},
	{"get <JAIL> action <ACT> actionunban", "the one that lifts a ban"},
	{"get <JAIL> action <ACT> timeout", "how many seconds a command may take"},
	{"", "GENERAL ACTION INFORMATION"},
	{"get <JAIL> actionproperties <ACT>", "the properties of an action"},
	{"get <JAIL> actionmethods <ACT>", "the methods of an action"},
	{"get <JAIL> action <ACT> <PROPERTY>", "the value of a property"},
}

// printClientCommands prints them as a table.
func printClientCommands(w io.Writer) {
	const indent, margin, width = 4, 41, 34
	for i, c := range clientCommands {
		if c.command == "" && i > 0 {
			fmt.Fprintln(w)
		}
		left := c.command
		if len(left) >= margin {
			fmt.Fprintf(w, "%*s%s\n", indent, "", left)
			left = ""
		}
		line := ""
		for _, word := range append(strings.Fields(c.does), "") {
			if word != "" && (line == "" || len(line)+1+len(word) <= width) {
				line = strings.TrimSpace(line + " " + word)
				continue
			}
			fmt.Fprintf(w, "%*s%-*s%s\n", indent, "", margin, left, line)
			left, line = "", word
		}
	}
}

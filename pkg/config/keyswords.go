package config

import (
	"reflect"

	"bailiff/pkg/remote"
)

// referenceTables are the tables of the files with their keys, in the order in which they
// are explained.
var referenceTables = []refTable{
	{MainFile, "", reflect.TypeFor[rawMain](), []string{"read", "database", "firewall", "export", "report", "check", "web", "fleet", "proxy", "security", "docker", "syslog", "default", "jail"}, []keyWords{
		{
			name:    "loglevel",
			values:  logLevels,
			example: `loglevel = "NOTICE"`,
			text:    "The log level: messages of this severity and above are logged. A number is Python's, as fail2ban takes it.",
		},
		{
			name:    "logtarget",
			example: `logtarget = "/var/log/bailiff.log"`,
			text:    "Where the log goes: stderr, stdout, journal, syslog, syslog[facility=auth], or a file's path. The file is opened again on SIGUSR1 and when it was rotated.",
		},
		{
			name:    "socket",
			example: `socket = "/run/bailiff/bailiff.sock"`,
			text:    "The path of the control socket, mode 0600. Whoever can write to it can do what the daemon can.",
		},
		{
			name:    "environment",
			example: `environment = ["SMTP_HOST", "LANG=C.UTF-8"]`,
			text:    "What commands of actions get in their environment beside PATH, LANG and TZ: NAME hands on the daemon's own value, NAME=VALUE sets one.",
		},
	}},
	{MainFile, "read", reflect.TypeFor[rawRead](), nil, []keyWords{
		{
			name:    "socket",
			example: "socket = \"/run/bailiff/read.sock\"\ngroup = \"adm\"",
			text:    "The path of a second socket, over which can only be asked. Needs group.",
		},
		{
			name:    "group",
			example: "socket = \"/run/bailiff/read.sock\"\ngroup = \"adm\"",
			text:    "The group that may ask there.",
		},
	}},
	{MainFile, "database", reflect.TypeFor[rawDatabase](), nil, []keyWords{
		{
			name:    "path",
			example: `path = "/var/lib/bailiff/bailiff.sqlite3"`,
			text:    "The database in fail2ban's format that keeps bans, failures in the window and how far each log was read. With systemd's StateDirectory= it is in that by default. \"None\" keeps nothing: after a restart, logs are read from their ends, and only the bans that the kernel still holds are known.",
		},
		{
			name:    "purgeage",
			time:    true,
			example: `purgeage = "7d"`,
			text:    "How long bans that have ended are kept; bantime.increment looks at those.",
		},
		{
			name:    "maxmatches",
			example: `maxmatches = 10`,
			text:    "How many of the log's lines are kept with a ban in the database.",
		},
		{
			name:    "events",
			example: `events = 256`,
			text:    "How many MiB of events are kept in files beside the database, for `bailiff why` and `bailiff events`: failures, bans, and what became of them; no longer than purgeage. With 0 there are none in files, and they are forgotten with the daemon.",
		},
	}},
	{MainFile, "firewall", reflect.TypeFor[rawFirewall](), nil, []keyWords{
		{
			name:    "enabled",
			def:     "true",
			example: `enabled = false`,
			text:    "Whether bans are elements of nftables sets. With false there is no firewall to command, as in a container without privileges: who is banned is known to exports, actions and whoever asks at the socket. A change needs a restart.",
		},
		{
			name:    "table",
			def:     "f2b-table",
			example: `table = "bailiff"`,
			text:    "The table (of family inet) that holds sets and rules.",
		},
		{
			name:    "chain",
			def:     "f2b-chain",
			example: `chain = "ban"`,
			text:    "The chain that holds the rules; from the second hook on its name has the hook's behind it.",
		},
		{
			name:    "hook",
			def:     "prerouting",
			example: `hook = ["input", "forward"]`,
			text:    "Where packets are looked at: prerouting, input, forward. prerouting sees what is for this host and what it passes on, as to a container's published port, with the ports that the client has. input sees what is for this host alone; forward what is passed on, with the ports that it has behind DNAT.",
		},
		{
			name:    "priority",
			def:     "-150",
			example: `priority = -10`,
			text:    "The chain's priority at its hooks: a smaller number comes earlier. Where it isn't given it is -150 at prerouting, before DNAT (-100), behind which the ports are the container's, and -1 at input and forward.",
		},
		{
			name:    "foreign",
			def:     "adopt",
			values:  []string{"adopt", "remove"},
			example: `foreign = "remove"`,
			text:    "What is done with an element of our sets that is on no list, as nft add makes one: adopt makes a ban of it, remove takes it out.",
		},
		{
			name:    "translate",
			def:     "false",
			example: `translate = false`,
			text:    "For configurations of fail2ban's alone (in fail2ban.local): has the stock actions of iptables done by nftables' sets. It has no effect in bailiff.toml.",
		},
	}},
	checkTable, webTable, fleetTable, fleetGroupTable,
	securityTable, dockerTable, syslogTable,
	{MainFile, "proxy", reflect.TypeFor[rawProxy](), nil, []keyWords{
		{
			name:    "trusted",
			example: `trusted = ["198.51.100.0/24", "file:/etc/bailiff/cdn.txt"]`,
			text:    "The addresses of your own proxies, for all jails: addresses, networks, ranges, or file:PATH, a list of them. They are never counted and never banned; where a line has a list of addresses, the client is the last that is not among them. [] says that there is no proxy; without the key, what a client could have written himself is not counted, and check says so.",
		},
	}},
	{MainFile, "export.NAME", reflect.TypeFor[rawExport](), nil, []keyWords{
		{
			name:    "kind",
			def:     "file",
			values:  []string{ExportFile, ExportHTTP, ExportHook},
			example: "kind = \"http\"\nprovider = \"cloudflare\"\naccount = \"023e105f4ecef8ad9ca31a8372d0c353\"\nlist = \"2c0fc9fa937b11eaa1b71c4d701ab86e\"\ntoken_file = \"/etc/bailiff/cloudflare.token\"",
			text:    "What is kept: file, a file for programs of this host; http, a list of addresses that a server elsewhere keeps; webhook, events that are sent to a URL as they come (docs/exports.md).",
		},
		{
			name:    "file",
			example: "file = \"/etc/nginx/banned.conf\"\nformat = \"nginx\"",
			text:    "The file that is written with who is banned, whole and anew each time.",
		},
		{
			name:    "format",
			values:  exportFormats,
			example: "file = \"/etc/nginx/banned.conf\"\nformat = \"nginx-deny\"",
			text:    "Its form: nginx is for nginx's geo (ADDRESS 1;), nginx-deny has lines deny ADDRESS;, haproxy is a map of HAProxy (ADDRESS bailiff), plain has an address or network a line.",
		},
		{
			name:    "jails",
			def:     "all",
			example: "file = \"/run/banned\"\nformat = \"plain\"\njails = [\"sshd\"]",
			text:    "The jails whose bans stand in it; of a webhook, whose events are sent, and then none that are no jail's. all are those that are configured; docker-* are those of containers' labels.",
		},
		{
			name:    "reload",
			example: "file = \"/etc/nginx/banned.conf\"\nformat = \"nginx\"\nreload = \"nginx -s reload\"",
			text:    "A command of the shell that is run when the file was changed.",
		},
		{
			name:    "socket",
			example: "file = \"/var/lib/bailiff/haproxy.map\"\nformat = \"haproxy\"\nsocket = \"/run/haproxy/admin.sock\"",
			text:    "HAProxy's runtime socket (stats socket … level admin), a path or ADDRESS:PORT: the map that its configuration reads from file is kept equal to who is banned at once, without a reload. Entries of it that have another value than bailiff stay.",
		},
		{
			name:    "provider",
			values:  remote.ProviderNames(),
			example: "kind = \"http\"\nprovider = \"cloudflare\"\naccount = \"023e105f4ecef8ad9ca31a8372d0c353\"\nlist = \"2c0fc9fa937b11eaa1b71c4d701ab86e\"\ntoken_file = \"/etc/bailiff/cloudflare.token\"",
			text:    "Whose server keeps the list.",
		},
		{
			name:    "account",
			example: "kind = \"http\"\nprovider = \"cloudflare\"\naccount = \"023e105f4ecef8ad9ca31a8372d0c353\"\nlist = \"2c0fc9fa937b11eaa1b71c4d701ab86e\"\ntoken_file = \"/etc/bailiff/cloudflare.token\"",
			text:    "The account to which the list belongs, by its id; with fastly, the service.",
		},
		{
			name:    "list",
			example: "kind = \"http\"\nprovider = \"cloudflare\"\naccount = \"023e105f4ecef8ad9ca31a8372d0c353\"\nlist = \"2c0fc9fa937b11eaa1b71c4d701ab86e\"\ntoken_file = \"/etc/bailiff/cloudflare.token\"",
			text:    "The list, by its id: it has to be there.",
		},
		{
			name:    "token_file",
			example: "kind = \"http\"\nprovider = \"cloudflare\"\naccount = \"023e105f4ecef8ad9ca31a8372d0c353\"\nlist = \"2c0fc9fa937b11eaa1b71c4d701ab86e\"\ntoken_file = \"/etc/bailiff/cloudflare.token\"",
			text:    "The file that holds the token by which the server knows us, or, of a webhook, the secret by which requests are signed, and nothing else. It is root's or the daemon's user's, and others can't read it.",
		},
		{
			name:    "token_credential",
			example: "kind = \"http\"\nprovider = \"cloudflare\"\naccount = \"023e105f4ecef8ad9ca31a8372d0c353\"\nlist = \"2c0fc9fa937b11eaa1b71c4d701ab86e\"\ntoken_credential = \"cloudflare\"",
			text:    "In place of token_file, the name of a credential that systemd hands to the service (LoadCredential=).",
		},
		{
			name:    "url",
			def:     "the provider's",
			example: "kind = \"http\"\nprovider = \"cloudflare\"\naccount = \"023e105f4ecef8ad9ca31a8372d0c353\"\nlist = \"2c0fc9fa937b11eaa1b71c4d701ab86e\"\ntoken_file = \"/etc/bailiff/cloudflare.token\"\nurl = \"https://cloudflare.example/client/v4\"",
			text:    "Where the server's API begins, if not where the provider's usually does; https alone. Of a webhook, to where events are sent.",
		},
		{
			name:    "ca_file",
			def:     "the system's",
			example: "kind = \"http\"\nprovider = \"cloudflare\"\naccount = \"023e105f4ecef8ad9ca31a8372d0c353\"\nlist = \"2c0fc9fa937b11eaa1b71c4d701ab86e\"\ntoken_file = \"/etc/bailiff/cloudflare.token\"\nca_file = \"/etc/bailiff/ca.pem\"",
			text:    "Certificates in PEM that are trusted in place of the system's.",
		},
		{
			name:    "comment",
			def:     "bailiff, the host's name, and NAME",
			example: "kind = \"http\"\nprovider = \"cloudflare\"\naccount = \"023e105f4ecef8ad9ca31a8372d0c353\"\nlist = \"2c0fc9fa937b11eaa1b71c4d701ab86e\"\ntoken_file = \"/etc/bailiff/cloudflare.token\"\ncomment = \"bailiff web1\"",
			text:    "What our items of the list are known by: others are left alone. Two hosts that share a list need two of them.",
		},
		{
			name:    "max_items",
			def:     "the provider's: cloudflare 10000, fastly 1000",
			example: "kind = \"http\"\nprovider = \"cloudflare\"\naccount = \"023e105f4ecef8ad9ca31a8372d0c353\"\nlist = \"2c0fc9fa937b11eaa1b71c4d701ab86e\"\ntoken_file = \"/etc/bailiff/cloudflare.token\"\nmax_items = 50000",
			text:    "How many items the list may have, ours and others' together; bans beyond that are logged.",
		},
		{
			name:    "events",
			values:  eventKinds(),
			def:     "all but found",
			example: "kind = \"webhook\"\nurl = \"https://chat.example/hook\"\ntoken_file = \"/etc/bailiff/hook.secret\"\nevents = [\"ban\", \"unban\"]",
			text:    "The kinds of events that a webhook sends (bailiff events --help).",
		},
		{
			name:    "http",
			def:     "false",
			example: "kind = \"webhook\"\nurl = \"http://192.0.2.80/hook\"\ntoken_file = \"/etc/bailiff/hook.secret\"\nhttp = true",
			text:    "Allows a webhook http:// also to other hosts: whoever is on the way reads what is sent, which quotes lines of logs.",
		},
	}},
	reportTable,
	jailTable,
	{MainFile, "jail.NAME.action.ACTION", reflect.TypeFor[rawAction](), nil, []keyWords{
		{
			name:    "start",
			example: `start = "logger jail <name> begins"` + "\n" + `ban = "true"`,
			text:    "A command of the shell that is run when the jail starts. All commands have fail2ban's tags; what comes from a log is quoted, never part of the command.",
		},
		{
			name:    "stop",
			example: "stop = \"logger jail <name> has ended\"\nban = \"true\"",
			text:    "What is run when the jail ends.",
		},
		{
			name:    "check",
			example: "check = \"test -e /run/other-firewall\"\nban = \"true\"",
			text:    "What is run before each ban; if it fails, repair is run, or stop and start.",
		},
		{
			name:    "repair",
			example: "repair = \"systemctl restart other-firewall\"\nban = \"true\"",
			text:    "What mends it when check failed.",
		},
		{
			name:    "ban",
			example: `ban = "curl -fsS -d ip=<ip> https://intranet.example.org/ban"`,
			text:    "What is run for a ban.",
		},
		{
			name:    "unban",
			example: `unban = "/srv/mysite/manage.py axes_reset_ip <ip>"`,
			text:    "What is run when a ban ends or is lifted.",
		},
		{
			name:    "flush",
			example: "flush = \"truncate -s 0 /srv/deny.txt\"\nban = \"true\"",
			text:    "What is run in place of one unban for each, when all end at once.",
		},
		{
			name:    "timeout",
			time:    true,
			def:     "60",
			example: "timeout = 10\nban = \"true\"",
			text:    "How long a command may take; then it is killed with all that it started, which is logged.",
		},
		{
			name:    "norestored",
			def:     "false",
			example: "norestored = true\nban = \"true\"",
			text:    "Is not run for bans that are only put back after a restart.",
		},
		{
			name:    "param",
			example: "ban = \"notify <dest> <ip>\"\nparam = { dest = \"root@example.org\" }",
			text:    "Tags of your own: <NAME> in commands is replaced by the value.",
		},
	}},
	{FilterFile, "", reflect.TypeFor[rawFilter](), []string{"mode", "sample", "json", "client", "prefix"}, []keyWords{
		{
			name:    "description",
			example: `description = "My application: failed logins"`,
			text:    "What bailiff filter list says of it.",
		},
		{
			name:    "prefregex",
			example: `prefregex = '^app\[\d+\]: <F-CONTENT>.+</F-CONTENT>$'`,
			text:    "An expression that lines must match first; failregex looks at its <F-CONTENT>.",
		},
		{
			name:    "maxlines",
			def:     "1",
			example: `maxlines = 2`,
			text:    "How many lines are looked at together, for expressions with <SKIPLINES>.",
		},
		{
			name:    "attempts",
			def:     "false",
			example: "attempts = true\nfailregex = '^<F-MLFID>app\\[\\d+\\]</F-MLFID>: failed from <ADDR>$'",
			text:    "Counts a connection's attempts, not its lines, where a service writes several lines for one guess. The connection is what <F-MLFID> holds.",
		},
		{
			name:    "source",
			example: `source = "src/login.c of version 2.1"`,
			text:    "From where the lines are that no sample of a real service shows.",
		},
		{
			name:    "journalmatch",
			example: `journalmatch = "_SYSTEMD_UNIT=app.service"`,
			text:    "Which of the journal's entries are the service's, as journalctl has it.",
		},
		{
			name:    "failregex",
			example: `failregex = '^login of \S+ failed from <ADDR>$'`,
			text:    "Expressions of failures, one a line, in Python's language with fail2ban's tags: <HOST>, <ADDR>, <SUBNET>, <F-ID>…</F-ID>, <F-USER>, <F-MLFID>, <F-NOFAIL> and others. In place of a text, { regex = '…', weight = 3 } has each match count for so many failures, 1 to 100.",
		},
		{
			name:    "ignoreregex",
			example: `ignoreregex = 'user monitoring '`,
			text:    "Expressions of lines that are no failures even if a failregex matches.",
		},
		{
			name:    "success",
			example: "success = '^\\s*myapp login of <F-USER>.*</F-USER> from <ADDR>$'\nfailregex = '^\\s*myapp login of .* failed from <ADDR>$'",
			text:    "Expressions of lines of who has logged in, with <ADDR> and <F-USER>. `bailiff replay` finds by them whom a setting would have hurt; they change nothing of who is banned. In a filter of fail2ban's, <F-MLFGAINED> says so.",
		},
		{
			name:    "datepattern",
			def:     "all known forms",
			example: `datepattern = '{^LN-BEG}'`,
			text:    "How dates are written, in fail2ban's words, one a line; {^LN-BEG} alone: a known form, at the line's beginning. What is matched has no date in it.",
		},
	}},
	{FilterFile, "prefix", nil, nil, []keyWords{
		{
			name:    "NAME",
			example: `line = '^\s*(?:\S+ )?app(?:\[\d+\])?: '`,
			text:    "What expressions share: <NAME> in them, as in <line>login failed from <ADDR>, stands for this. Small letters, digits, hyphens.",
		},
	}},
	{FilterFile, "client", nil, nil, []keyWords{
		{
			name:    "NAME",
			example: `user = '[\w.@-]{1,64}'`,
			text:    "An expression of what a part of the client's can hold, since the service lets nothing else through: bailiff filter prove looks at no other. The name is one of a sample's client.",
		},
	}},
	{FilterFile, "mode.MODE", reflect.TypeFor[rawMode](), nil, []keyWords{
		{
			name:    "with",
			example: `with = ["normal"]`,
			text:    "Other modes whose expressions belong to this one, too.",
		},
		{
			name:    "failregex",
			example: `failregex = '^connection from <ADDR> closed$'`,
			text:    "Expressions of the mode, beside those of the filter. The mode normal holds where a jail names none.",
		},
	}},
	{FilterFile, "json", reflect.TypeFor[rawJSON](), []string{"match"}, []keyWords{
		{
			name:    "host",
			example: `host = ["request.client_ip", "request.remote_ip"]`,
			text:    "The field that holds the address, in a log of JSON: the first that is there.",
		},
		{
			name:    "hosts",
			example: `hosts = ["request.client_ip", "request.remote_ip"]`,
			text:    "The same; further fields behind those of host.",
		},
		{
			name:    "time",
			example: "host = \"ip\"\ntime = \"ts\"",
			text:    "The field that holds the time: a date, or seconds since 1970.",
		},
		{
			name:    "user",
			example: "host = \"ip\"\nuser = \"login.name\"",
			text:    "The field that holds the user's name, for <F-USER>.",
		},
		{
			name:    "peer",
			example: "host = \"ClientHost\"\npeer = \"ClientAddr\"",
			text:    "The field with the connection's own address, where host holds what a header said: without trusted proxies, host counts only where both are the same.",
		},
		{
			name:    "forwarded",
			example: "host = \"remote_ip\"\nforwarded = \"headers.X-Forwarded-For\"",
			text:    "The field with the list of addresses before a proxy, where host is the connection's: asked where host is a trusted proxy.",
		},
	}},
	{FilterFile, "json.match", nil, nil, []keyWords{
		{
			name:    "FIELD",
			example: "status = [401, 403]\npath = \"/^/login/\"",
			text:    "Conditions that a failure meets, all of one [[json.match]]: a value, one of several, or an expression between slashes.",
		},
	}},
	{FilterFile, "sample", reflect.TypeFor[rawSample](), nil, []keyWords{
		{
			name:    "line",
			example: "line = \"2026-01-31 12:00:00 login of bob failed from 192.0.2.7\"\nhost = \"192.0.2.7\"",
			text:    "A line that proves the filter (bailiff filter test); or several of one connection, of which the last counts.",
		},
		{
			name:    "host",
			example: "line = \"2026-01-31 12:00:00 login of bob failed from 192.0.2.7\"\nhost = \"192.0.2.7\"",
			text:    "Whom the line has counted.",
		},
		{
			name:    "time",
			example: "line = \"2026-01-31 12:00:00 login of bob failed from 192.0.2.7\"\nhost = \"192.0.2.7\"\ntime = \"2026-01-31T12:00:00\"",
			text:    "The time that is to be read from it.",
		},
		{
			name:    "match",
			def:     "true",
			example: "line = \"2026-01-31 12:00:00 login of bob from 192.0.2.7\"\nmatch = false",
			text:    "With false: a line that is no failure.",
		},
		{
			name:    "mode",
			example: "line = \"2026-01-31 12:00:00 login of bob failed from 192.0.2.7\"\nhost = \"192.0.2.7\"\nmode = \"normal\"",
			text:    "The mode in which it is read.",
		},
		{
			name:    "trusted",
			example: "line = \"2026-01-31 12:00:00 login of bob failed from 192.0.2.7\"\nhost = \"192.0.2.7\"\ntrusted = [\"198.51.100.0/24\"]",
			text:    "The trusted proxies with which it is read.",
		},
		{
			name:    "injection",
			def:     "false",
			example: "injection = true\nline = \"2026-01-31 12:00:00 login of x from 203.0.113.9 failed from 192.0.2.7\"\nhost = \"192.0.2.7\"",
			text:    "The line holds an attempt to have another address taken.",
		},
		{
			name:    "from",
			example: "line = \"2026-01-31 12:00:00 login of bob failed from 192.0.2.7\"\nhost = \"192.0.2.7\"\nfrom = \"app 2.1 (Debian 13)\"",
			text:    "What wrote the line.",
		},
		{
			name:    "client",
			example: "line = \"2026-01-31 12:00:00 login of bob failed from 192.0.2.7\"\nhost = \"192.0.2.7\"\nclient = { user = \"bob\" }",
			text:    "The parts of the line that a client chooses, by name: bailiff filter prove proves that whatever stands there, his own address counts and no other.",
		},
		{
			name:    "forgeable",
			example: "line = \"2026-01-31 12:00:00 login of bob failed from 192.0.2.7\"\nhost = \"192.0.2.7\"\nforgeable = \"the service writes line feeds as they are\"",
			text:    "Why the service makes it impossible that no other address can be taken.",
		},
		{
			name:    "evadable",
			example: "line = \"2026-01-31 12:00:00 login of bob failed from 192.0.2.7\"\nhost = \"192.0.2.7\"\nevadable = \"a name may hold the words that end it\"",
			text:    "Why the service makes it impossible that the line always counts.",
		},
	}},
}

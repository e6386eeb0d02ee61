package config

import (
	"reflect"

	"bailiff/pkg/remote"
)

// referenceTables are the tables of the files with their keys, in the order in which they
// are explained.
var referenceTables = []refTable{
	{MainFile, "", reflect.TypeFor[rawMain](), []string{"read", "database", "firewall", "export", "report", "check", "proxy", "security", "docker", "syslog", "default", "jail"}, []keyWords{
		{
			name:    "loglevel",
			values:  logLevels,
			example: `loglevel = "NOTICE"`,
			text:    "What the daemon tells: messages of this weight and above. A number is Python's, as fail2ban takes it.",
		},
		{
			name:    "logtarget",
			example: `logtarget = "/var/log/bailiff.log"`,
			text:    "Where it tells it: stderr, stdout, journal, syslog, syslog[facility=auth], or a file's path. The file is opened again on SIGUSR1 and when it was rotated.",
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
			text:    "Whether bans are elements of nftables sets. With false there is no firewall to command, as in a container without privileges: who is banned is told by exports, actions and the socket. A change needs a restart.",
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
	checkTable,
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
			values:  []string{ExportFile, ExportHTTP},
			example: "kind = \"http\"\nprovider = \"cloudflare\"\naccount = \"023e105f4ecef8ad9ca31a8372d0c353\"\nlist = \"2c0fc9fa937b11eaa1b71c4d701ab86e\"\ntoken_file = \"/etc/bailiff/cloudflare.token\"",
			text:    "What is kept: file, a file for programs of this host; http, a list of addresses that a server elsewhere keeps (docs/exports.md).",
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
			text:    "The jails whose bans stand in it. all are those that are configured; docker-* are those of containers' labels.",
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
			text:    "The file that holds the token by which the server knows us, and nothing else. It is root's or the daemon's user's, and others can't read it.",
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
			text:    "Where the server's API begins, if not where the provider's usually does; https alone.",
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
			text:    "How many items the list may have, ours and others' together; the bans that are beyond that are told.",
		},
	}},
	reportTable,
	{MainFile, "jail.NAME", reflect.TypeFor[rawJail](), []string{"action"}, []keyWords{
		{
			name:    "enabled",
			example: `enabled = true`,
			text:    "Whether the jail runs.",
		},
		{
			name:    "filter",
			def:     "the jail's name",
			example: `filter = "sshd[mode=aggressive]"`,
			text:    "The filter that says what a failure looks like: NAME, or NAME[mode=MODE].",
		},
		{
			name:    "mode",
			def:     "the filter's first",
			example: `mode = "aggressive"`,
			text:    "The filter's mode; bailiff filter list tells which there are.",
		},
		{
			name:    "port",
			def:     "all",
			example: `port = "http,https,8000:8100"`,
			text:    "The ports that are shut: numbers, names of /etc/services, ranges with : or -, all.",
		},
		{
			name:    "protocol",
			example: `protocol = ["tcp", "udp"]`,
			text:    "The protocols that are shut: tcp, udp, sctp, dccp, udplite, icmp, icmpv6, or all. Ports need one that has ports.",
		},
		{
			name:    "logpath",
			example: `logpath = ["/var/log/app/*.log", "/var/log/other.log tail"]`,
			text:    "The logs, as files or patterns; behind a path, tail begins at the end of a log that was never read, fifo says that it is a named pipe.",
		},
		{
			name:    "list",
			example: `list = "/etc/bailiff/lists/*.txt"`,
			text:    "Files of addresses and networks that are shut out from the start, read anew when they change, or https:// of servers that publish some, of which the last good copy is kept; in place of a log. This host and what it needs is never among them, nor a network wider than /8.",
		},
		{
			name:    "list_every",
			time:    true,
			def:     "1h",
			example: "list = \"https://lists.example/drop.txt\"\nlist_every = \"6h\"",
			text:    "How often a list at a URL is asked for, at most once a minute.",
		},
		{
			name:    "list_http",
			def:     "false",
			example: "list = \"http://192.0.2.1/drop.txt\"\nlist_http = true",
			text:    "Takes lists over http://, which anybody on the way can change.",
		},
		{
			name:    "list_ca",
			def:     "the system's",
			example: "list = \"https://lists.example/drop.txt\"\nlist_ca = \"/etc/bailiff/ca.pem\"",
			text:    "Certificates in PEM that are trusted for lists at a URL, in place of the system's.",
		},
		{
			name:    "maxretry",
			example: `maxretry = 3`,
			text:    "How many failures within findtime ban.",
		},
		{
			name:    "findtime",
			time:    true,
			example: `findtime = "1h"`,
			text:    "Within how long they count together.",
		},
		{
			name:    "bantime",
			time:    true,
			example: `bantime = "1d"`,
			text:    "How long a ban holds; -1 for ever.",
		},
		{
			name:    "observe",
			def:     "false",
			example: `observe = true`,
			text:    "Counts and decides as ever, and bans nobody: who would be banned is told as Would ban in the log and in status. Nothing is written to the kernel's sets, the database's bans, exports or reports, and no action is run. A reload without it bans those who would be by then.",
		},
		{
			name:    "ignoreip",
			example: `ignoreip = ["198.51.100.0/24", "office.example.org", "file:/etc/bailiff/allow.txt"]`,
			text:    "Who is never banned: addresses, networks, ranges (A-B), host names (asked for once a minute), file:PATH, a list of those.",
		},
		{
			name:    "ignoreself",
			example: `ignoreself = true`,
			text:    "Never bans this host: its own addresses, its gateways and name servers.",
		},
		{
			name:    "usedns",
			values:  []string{"yes", "warn", "no", "raw"},
			example: `usedns = "no"`,
			text:    "What is done with a name in place of an address: yes looks it up, warn does so and warns, no passes over it, raw takes the name itself for who is banned.",
		},
		{
			name:    "datepattern",
			def:     "all known forms",
			example: `datepattern = '{^LN-BEG}%Y-%m-%d %H:%M:%S'`,
			text:    "How dates are written, in fail2ban's words, one a line: strptime's letters and more, {^LN-BEG} and the like, EPOCH, LEPOCH, or {NONE} for logs without any. It replaces the filter's own.",
		},
		{
			name:    "prefregex",
			example: `prefregex = '^app\[\d+\]: <F-CONTENT>.+</F-CONTENT>$'`,
			text:    "An expression that lines must match first; failregex looks at its <F-CONTENT>. It replaces the filter's own.",
		},
		{
			name:    "failregex",
			example: `failregex = '^login of \S+ failed from <ADDR>$'`,
			text:    "Expressions of failures, one a line, in Python's language with fail2ban's tags: <HOST>, <ADDR>, <SUBNET>, <F-ID>…</F-ID>, <F-USER>, <F-MLFID>, <F-NOFAIL> and others. They replace the filter's own.",
		},
		{
			name:    "ignoreregex",
			example: `ignoreregex = 'user monitoring '`,
			text:    "Expressions of lines that are no failures even if a failregex matches. They replace the filter's own.",
		},
		{
			name:    "maxlines",
			def:     "the filter's",
			example: `maxlines = 2`,
			text:    "How many lines are looked at together, for expressions with <SKIPLINES>.",
		},
		{
			name:    "blocktype",
			values:  []string{"reject", "drop"},
			example: `blocktype = "drop"`,
			text:    "How packets of banned addresses are turned away: with an answer, or with none.",
		},
		{
			name:    "ignorecommand",
			example: `ignorecommand = "/usr/local/bin/is-customer <ip>"`,
			text:    "A command of the shell that is asked about each failure, with fail2ban's tags; by exit code 0 it is ignored. What takes longer than a minute counts as no.",
		},
		{
			name:    "ignorecache",
			example: `ignorecache = 'key="<ip>", max-count=1000, max-time=5m'`,
			text:    "How many of the command's answers are kept, for how long, and by what.",
		},
		{
			name:    "logencoding",
			def:     "UTF-8",
			example: `logencoding = "latin-1"`,
			text:    "The logs' encoding, by its name in Python.",
		},
		{
			name:    "logtimezone",
			def:     "the host's zone",
			example: `logtimezone = "UTC+0200"`,
			text:    "The zone of dates that name none: UTC, an abbreviation like CET, or an offset.",
		},
		{
			name:    "transport",
			def:     "auto",
			values:  []string{"auto", "none", "docker", "cri", "syslog"},
			example: `transport = ["docker", "syslog"]`,
			text:    "What stands around the lines and is taken off: found from the lines themselves (auto), nothing, Docker's JSON, the form of Kubernetes' runtimes, heads of syslog; within docker or cri there may be syslog.",
		},
		{
			name:    "backend",
			def:     "auto",
			example: `backend = "systemd"`,
			text:    "How lines come: auto follows files by the kernel's events, polling looks for changes, systemd reads the journal; with options as in fail2ban: systemd[journalpath=/var/log/journal]. docker reads what containers write, from their engine, docker or podman; syslog receives what other hosts and programs send (listen).",
		},
		{
			name:    "container",
			example: "backend = \"docker\"\ncontainer = [\"web\", \"label=com.example.role=front\", \"image=nginx:*\"]",
			text:    "Whose output is read with backend = \"docker\": containers by name, by label=KEY or label=KEY=VALUE, by image=IMAGE, or by id=ID; * stands for anything. Those that come later are read from when they come. docs/containers.md says more.",
		},
		{
			name:    "journalmatch",
			def:     "the filter's",
			example: "backend = \"systemd\"\njournalmatch = \"_SYSTEMD_UNIT=ssh.service + _COMM=sshd\"",
			text:    "Which of the journal's entries are read, as journalctl has it.",
		},
		{
			name:    "listen",
			example: "backend = \"syslog\"\nlisten = [\"udp://192.0.2.1:514\", \"tcp://[::]:514\"]\nallow = [\"192.0.2.0/24\"]",
			text:    "With backend = \"syslog\": where messages are received: udp://ADDRESS:PORT, tcp://…, tls://…, unix:///PATH (datagrams, as /dev/log) or unix-stream:///PATH. Without an address it is all of this host's; the port is 514, of tls 6514, if none is named. Jails that name the same share the socket. tls needs a certificate of who sends ([syslog] ca).",
		},
		{
			name:    "allow",
			def:     "this host",
			example: "backend = \"syslog\"\nlisten = \"udp://:514\"\nallow = [\"192.0.2.7\", \"2001:db8::/32\"]",
			text:    "With backend = \"syslog\": addresses and networks from which messages are taken; from others they are not, which the log says. Over UDP anybody can write any address as his own: name networks in which the routers let nobody do that. Who may send over a Unix socket, its mode says.",
		},
		{
			name:    "match",
			def:     "all messages",
			example: "backend = \"syslog\"\nlisten = \"udp://:514\"\nmatch = [\"program=sshd\", \"facility=auth\", \"facility=authpriv\", \"from=192.0.2.0/24\"]",
			text:    "With backend = \"syslog\": which messages are read, as KEY=VALUE: program, host (with trust_name) and cert (a name in the certificate of who sends by TLS), which may hold * and ?; facility; severity, of that weight and above; from, an address or a network; text, which the message holds. Of one key any may hold, of several all have to; + stands between alternatives.",
		},
		{
			name:    "trust_time",
			def:     "false",
			example: "backend = \"syslog\"\nlisten = \"udp://:514\"\ntrust_time = true",
			text:    "With backend = \"syslog\": whether a message is of the time that it tells. Else it is of when it came. Dates without a zone are taken to be in this host's.",
		},
		{
			name:    "trust_name",
			def:     "false",
			example: "backend = \"syslog\"\nlisten = \"udp://:514\"\ntrust_name = true",
			text:    "With backend = \"syslog\": whether a message is of the host that it names. Else it is of the address that it came from.",
		},
		{
			name:    "maxmatches",
			def:     "maxretry",
			example: `maxmatches = 10`,
			text:    "How many lines of an address are remembered until it is banned, for <matches>.",
		},
		{
			name:    "ban.prefix4",
			example: `ban.prefix4 = 24`,
			text:    "The length of the network that is counted and banned for an IPv4 address, 8 to 32.",
		},
		{
			name:    "ban.prefix6",
			example: `ban.prefix6 = 56`,
			text:    "The same for IPv6, 32 to 128: one customer has a /64 at the least.",
		},
		{
			name:    "ban.aggregate",
			def:     "0",
			example: `ban.aggregate = 8`,
			text:    "How many bans within one /24 or /48 become one ban of it; 0: never.",
		},
		{
			name:    "proxy.trusted",
			def:     "that of [proxy]",
			example: `proxy.trusted = ["203.0.113.1"]`,
			text:    "The same as in [proxy], for this jail in its place.",
		},
		{
			name:    "ignoressh",
			def:     "false",
			example: `ignoressh = true`,
			text:    "Never bans the other ends of SSH sessions that are open.",
		},
		{
			name:    "bantime.increment",
			def:     "false",
			example: `"bantime.increment" = true`,
			text:    "Has bans of an address grow with the bans that it has had before.",
		},
		{
			name:    "bantime.factor",
			def:     "1",
			example: `"bantime.factor" = 2`,
			text:    "The factor in the formula, a number or a calculation.",
		},
		{
			name:    "bantime.formula",
			def:     "ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor",
			example: `"bantime.formula" = "ban.Time * math.exp(float(ban.Count+1)*banFactor)/math.exp(1*banFactor)"`,
			text:    "How long the next ban is, as fail2ban writes it.",
		},
		{
			name:    "bantime.multipliers",
			example: `"bantime.multipliers" = "1 5 30 60 300"`,
			text:    "By what the ban time is multiplied at the first ban, the second, and so on, in place of the formula.",
		},
		{
			name:    "bantime.maxtime",
			time:    true,
			def:     "none",
			example: `"bantime.maxtime" = "5w"`,
			text:    "The longest that it grows to.",
		},
		{
			name:    "bantime.rndtime",
			time:    true,
			def:     "0",
			example: `"bantime.rndtime" = "10m"`,
			text:    "Up to so much is added by chance, so that nobody can wait for the end.",
		},
		{
			name:    "bantime.overalljails",
			def:     "false",
			example: `"bantime.overalljails" = true`,
			text:    "Counts the bans that an address has had in all jails.",
		},
	}},
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
			text:    "How long a command may take; then it is killed with all that it started, and that is told.",
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
			text:    "Expressions of failures, one a line, in Python's language with fail2ban's tags: <HOST>, <ADDR>, <SUBNET>, <F-ID>…</F-ID>, <F-USER>, <F-MLFID>, <F-NOFAIL> and others.",
		},
		{
			name:    "ignoreregex",
			example: `ignoreregex = 'user monitoring '`,
			text:    "Expressions of lines that are no failures even if a failregex matches.",
		},
		{
			name:    "success",
			example: "success = '^\\s*myapp login of <F-USER>.*</F-USER> from <ADDR>$'\nfailregex = '^\\s*myapp login of .* failed from <ADDR>$'",
			text:    "Expressions of lines of who has logged in, with <ADDR> and <F-USER>. `bailiff replay` tells by them whom a setting would have hurt; they change nothing of who is banned. In a filter of fail2ban's, <F-MLFGAINED> says so.",
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

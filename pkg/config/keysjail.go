package config

// The keys of a jail, and of [default] for all of them. A key is one entry here: how it is read, what
// holds without it, and what the manual, the schema and `bailiff config reference` say of it. The
// order is that of the manual and of `bailiff config show`.
var (
	keyEnabled = declare(jailKey[bool]{
		keyWords: keyWords{
			name:    "enabled",
			shown:   true,
			example: `enabled = true`,
			text:    "Whether the jail runs.",
		},
	})
	keyFilter = declare(jailKey[string]{
		keyWords: keyWords{
			name:    "filter",
			def:     "the jail's name",
			example: `filter = "sshd[mode=aggressive]"`,
			text:    "The filter that says what a failure looks like: NAME, or NAME[mode=MODE].",
		},
	})
	keyMode = declare(jailKey[string]{
		keyWords: keyWords{
			name:    "mode",
			def:     "the filter's first",
			example: `mode = "aggressive"`,
			text:    "The filter's mode; bailiff filter list shows them.",
		},
	})
	keyPort = declare(jailKey[stringList]{
		keyWords: keyWords{
			name:    "port",
			def:     "all",
			example: `port = "http,https,8000:8100"`,
			text:    "The ports that are shut: numbers, names of /etc/services, ranges with : or -, all.",
		},
	})
	keyProtocol = declare(jailKey[stringList]{
		standard: stringList{"tcp"},
		keyWords: keyWords{
			name:    "protocol",
			shown:   true,
			example: `protocol = ["tcp", "udp"]`,
			text:    "The protocols that are shut: tcp, udp, sctp, dccp, udplite, icmp, icmpv6, or all. Ports need one that has ports.",
		},
	})
	keyLogPath = declare(jailKey[stringList]{
		keyWords: keyWords{
			name:    "logpath",
			example: `logpath = ["/var/log/app/*.log", "/var/log/other.log tail"]`,
			text:    "The logs, as files or patterns; behind a path, tail begins at the end of a log that was never read, fifo says that it is a named pipe.",
		},
	})
	keyList = declare(jailKey[stringList]{
		keyWords: keyWords{
			name:    "list",
			example: `list = "/etc/bailiff/lists/*.txt"`,
			text:    "Files of addresses and networks that are shut out from the start, read anew when they change, or https:// of servers that publish some, of which the last good copy is kept; in place of a log. This host and what it needs is never among them, nor a network wider than /8.",
		},
	})
	keyListEvery = declare(jailKey[text]{
		keyWords: keyWords{
			name:    "list_every",
			time:    true,
			def:     "1h",
			example: "list = \"https://lists.example/drop.txt\"\nlist_every = \"6h\"",
			text:    "How often a list at a URL is fetched, at most once a minute.",
		},
	})
	keyListHTTP = declare(jailKey[bool]{
		keyWords: keyWords{
			name:    "list_http",
			example: "list = \"http://192.0.2.1/drop.txt\"\nlist_http = true",
			text:    "Takes lists over http://, which anybody on the way can change.",
		},
	})
	keyListCA = declare(jailKey[string]{
		keyWords: keyWords{
			name:    "list_ca",
			def:     "the system's",
			example: "list = \"https://lists.example/drop.txt\"\nlist_ca = \"/etc/bailiff/ca.pem\"",
			text:    "Certificates in PEM that are trusted for lists at a URL, in place of the system's.",
		},
	})
	keyObserve = declare(jailKey[bool]{
		keyWords: keyWords{
			name:    "observe",
			example: `observe = true`,
			text:    "Counts and decides as ever, and bans nobody: who would be banned is logged as Would ban, and shown in status. Nothing is written to the kernel's sets, the database's bans, exports or reports, and no action is run. A reload without it bans those who would be by then.",
		},
	})
	keyMaxRetry = declare(jailKey[int]{
		standard: 5,
		keyWords: keyWords{
			name:    "maxretry",
			shown:   true,
			example: `maxretry = 3`,
			text:    "How many failures within findtime ban.",
		},
	})
	keyFindTime = declare(jailKey[text]{
		standard: "10m",
		keyWords: keyWords{
			name:    "findtime",
			time:    true,
			shown:   true,
			example: `findtime = "1h"`,
			text:    "Within how long they count together.",
		},
	})
	keyBanTime = declare(jailKey[text]{
		standard: "10m",
		keyWords: keyWords{
			name:    "bantime",
			time:    true,
			shown:   true,
			example: `bantime = "1d"`,
			text:    "How long a ban holds; -1 for ever.",
		},
	})
	keyIgnoreIP = declare(jailKey[stringList]{
		keyWords: keyWords{
			name:    "ignoreip",
			example: `ignoreip = ["198.51.100.0/24", "office.example.org", "file:/etc/bailiff/allow.txt"]`,
			text:    "Who is never banned: addresses, networks, ranges (A-B), host names (looked up once a minute), file:PATH, a list of those.",
		},
	})
	keyIgnoreSelf = declare(jailKey[bool]{
		standard: true,
		keyWords: keyWords{
			name:    "ignoreself",
			shown:   true,
			example: `ignoreself = true`,
			text:    "Never bans this host: its own addresses, its gateways and name servers.",
		},
	})
	keyUseDNS = declare(jailKey[string]{
		standard: "warn",
		keyWords: keyWords{
			name:    "usedns",
			shown:   true,
			values:  []string{"yes", "warn", "no", "raw"},
			example: `usedns = "no"`,
			text:    "What is done with a name in place of an address: yes looks it up, warn does so and warns, no passes over it, raw takes the name itself for who is banned.",
		},
	})
	keyDatePattern = declare(jailKey[stringList]{
		keyWords: keyWords{
			name:    "datepattern",
			def:     "all known forms",
			example: `datepattern = '{^LN-BEG}%Y-%m-%d %H:%M:%S'`,
			text:    "How dates are written, in fail2ban's words, one a line: strptime's letters and more, {^LN-BEG} and the like, EPOCH, LEPOCH, or {NONE} for logs without any. It replaces the filter's own.",
		},
	})
	keyPrefregex = declare(jailKey[string]{
		keyWords: keyWords{
			name:    "prefregex",
			example: `prefregex = '^app\[\d+\]: <F-CONTENT>.+</F-CONTENT>$'`,
			text:    "An expression that lines must match first; failregex looks at its <F-CONTENT>. It replaces the filter's own.",
		},
	})
	keyFailregex = declare(jailKey[failList]{
		keyWords: keyWords{
			name:    "failregex",
			example: "failregex = ['^login of \\S+ failed from <ADDR>$', { regex = '^break-in from <ADDR>$', weight = 3 }]",
			text:    "Expressions of failures, one a line, in Python's language with fail2ban's tags: <HOST>, <ADDR>, <SUBNET>, <F-ID>…</F-ID>, <F-USER>, <F-MLFID>, <F-NOFAIL> and others. In place of a text, { regex = '…', weight = 3 } has each match count for so many failures, 1 to 100. They replace the filter's own.",
		},
	})
	keyIgnoreregex = declare(jailKey[stringList]{
		keyWords: keyWords{
			name:    "ignoreregex",
			example: `ignoreregex = 'user monitoring '`,
			text:    "Expressions of lines that are no failures even if a failregex matches. They replace the filter's own.",
		},
	})
	keyMaxLines = declare(jailKey[int]{
		keyWords: keyWords{
			name:    "maxlines",
			def:     "the filter's",
			example: `maxlines = 2`,
			text:    "How many lines are looked at together, for expressions with <SKIPLINES>.",
		},
	})
	keyBlockType = declare(jailKey[string]{
		standard: "reject",
		keyWords: keyWords{
			name:    "blocktype",
			shown:   true,
			values:  []string{"reject", "drop"},
			example: `blocktype = "drop"`,
			text:    "How packets of banned addresses are turned away: with an answer, or with none.",
		},
	})
	keyIgnoreCommand = declare(jailKey[string]{
		keyWords: keyWords{
			name:    "ignorecommand",
			example: `ignorecommand = "/usr/local/bin/is-customer <ip>"`,
			text:    "A command of the shell that is asked about each failure, with fail2ban's tags; by exit code 0 it is ignored. What takes longer than a minute counts as no.",
		},
	})
	keyIgnoreCache = declare(jailKey[string]{
		keyWords: keyWords{
			name:    "ignorecache",
			example: `ignorecache = 'key="<ip>", max-count=1000, max-time=5m'`,
			text:    "How many of the command's answers are kept, for how long, and by what.",
		},
	})
	keyLogEncoding = declare(jailKey[string]{
		keyWords: keyWords{
			name:    "logencoding",
			def:     "UTF-8",
			example: `logencoding = "latin-1"`,
			text:    "The logs' encoding, by its name in Python.",
		},
	})
	keyLogTimezone = declare(jailKey[string]{
		keyWords: keyWords{
			name:    "logtimezone",
			def:     "the host's zone",
			example: `logtimezone = "UTC+0200"`,
			text:    "The zone of dates that name none: UTC, an abbreviation like CET, or an offset.",
		},
	})
	keyTransport = declare(jailKey[stringList]{
		keyWords: keyWords{
			name:    "transport",
			def:     "auto",
			values:  []string{"auto", "none", "docker", "cri", "syslog"},
			example: `transport = ["docker", "syslog"]`,
			text:    "What stands around the lines and is taken off: found from the lines themselves (auto), nothing, Docker's JSON, the form of Kubernetes' runtimes, heads of syslog; within docker or cri there may be syslog.",
		},
	})
	keyBackend = declare(jailKey[string]{
		standard: "auto",
		keyWords: keyWords{
			name:    "backend",
			example: `backend = "systemd"`,
			text:    "How lines come: auto follows files by the kernel's events, polling looks for changes, systemd reads the journal; with options as in fail2ban: systemd[journalpath=/var/log/journal]. docker reads what containers write, from their engine, docker or podman; syslog receives what other hosts and programs send (listen).",
		},
	})
	keyJournalMatch = declare(jailKey[stringList]{
		keyWords: keyWords{
			name:    "journalmatch",
			def:     "the filter's",
			example: "backend = \"systemd\"\njournalmatch = \"_SYSTEMD_UNIT=ssh.service + _COMM=sshd\"",
			text:    "Which of the journal's entries are read, as journalctl has it.",
		},
	})
	keyContainer = declare(jailKey[stringList]{
		keyWords: keyWords{
			name:    "container",
			example: "backend = \"docker\"\ncontainer = [\"web\", \"label=com.example.role=front\", \"image=nginx:*\"]",
			text:    "Whose output is read with backend = \"docker\": containers by name, by label=KEY or label=KEY=VALUE, by image=IMAGE, or by id=ID; * stands for anything. Those that come later are read from when they come. docs/containers.md says more.",
		},
	})
	keyListen = declare(jailKey[stringList]{
		keyWords: keyWords{
			name:    "listen",
			example: "backend = \"syslog\"\nlisten = [\"udp://192.0.2.1:514\", \"tcp://[::]:514\"]\nallow = [\"192.0.2.0/24\"]",
			text:    "With backend = \"syslog\": where messages are received: udp://ADDRESS:PORT, tcp://…, tls://…, unix:///PATH (datagrams, as /dev/log) or unix-stream:///PATH. Without an address it is all of this host's; the port is 514, of tls 6514, if none is named. Jails that name the same share the socket. tls needs a certificate of who sends ([syslog] ca).",
		},
	})
	keyAllow = declare(jailKey[stringList]{
		keyWords: keyWords{
			name:    "allow",
			def:     "this host",
			example: "backend = \"syslog\"\nlisten = \"udp://:514\"\nallow = [\"192.0.2.7\", \"2001:db8::/32\"]",
			text:    "With backend = \"syslog\": addresses and networks from which messages are taken; from others they are not, which the log says. Over UDP anybody can write any address as his own: name networks in which the routers let nobody do that. Who may send over a Unix socket, its mode says.",
		},
	})
	keyMatch = declare(jailKey[stringList]{
		keyWords: keyWords{
			name:    "match",
			def:     "all messages",
			example: "backend = \"syslog\"\nlisten = \"udp://:514\"\nmatch = [\"program=sshd\", \"facility=auth\", \"facility=authpriv\", \"from=192.0.2.0/24\"]",
			text:    "With backend = \"syslog\": which messages are read, as KEY=VALUE: program, host (with trust_name) and cert (a name in the certificate of who sends by TLS), which may hold * and ?; facility; severity, of that weight and above; from, an address or a network; text, which the message holds. Of one key any may hold, of several all have to; + stands between alternatives.",
		},
	})
	keyTrustTime = declare(jailKey[bool]{
		keyWords: keyWords{
			name:    "trust_time",
			example: "backend = \"syslog\"\nlisten = \"udp://:514\"\ntrust_time = true",
			text:    "With backend = \"syslog\": whether the time that a message states counts as its time. Else that is when it was received. Dates without a zone are taken to be in this host's.",
		},
	})
	keyTrustName = declare(jailKey[bool]{
		keyWords: keyWords{
			name:    "trust_name",
			example: "backend = \"syslog\"\nlisten = \"udp://:514\"\ntrust_name = true",
			text:    "With backend = \"syslog\": whether a message is of the host that it names. Else it is of the address that it came from.",
		},
	})
	keyMaxMatches = declare(jailKey[int]{
		keyWords: keyWords{
			name:    "maxmatches",
			def:     "maxretry",
			example: `maxmatches = 10`,
			text:    "How many lines of an address are remembered until it is banned, for <matches>.",
		},
	})
	keyBanPrefix4 = declare(jailKey[int]{
		standard: 32,
		keyWords: keyWords{
			name:    "ban.prefix4",
			shown:   true,
			example: `ban.prefix4 = 24`,
			text:    "The length of the network that is counted and banned for an IPv4 address, 8 to 32.",
		},
	})
	keyBanPrefix6 = declare(jailKey[int]{
		standard: 64,
		keyWords: keyWords{
			name:    "ban.prefix6",
			shown:   true,
			example: `ban.prefix6 = 56`,
			text:    "The same for IPv6, 32 to 128: one customer has a /64 at the least.",
		},
	})
	keyBanAggregate = declare(jailKey[int]{
		keyWords: keyWords{
			name:    "ban.aggregate",
			def:     "0",
			example: `ban.aggregate = 8`,
			text:    "How many bans within one /24 or /48 become one ban of it; 0: never.",
		},
	})
	keyCountDistinct = declare(jailKey[string]{
		keyWords: keyWords{
			name:    "count.distinct",
			example: "count.distinct = \"user\"\nfailregex = '^login of <F-USER>\\S+</F-USER> failed from <ADDR>$'",
			text:    "A group that the filter captures: of failures of an address that captured the same there within findtime, one counts, so that twenty tries on one account are one mistake, and tries on ten accounts an attack. Where nothing is captured, each counts. user (<F-USER>) costs nothing; with others, each line takes longer. Who only ever tries one account is never banned then: have another jail for that. Empty: each failure counts.",
		},
	})
	keySuccessForgives = declare(jailKey[bool]{
		keyWords: keyWords{
			name:    "success.forgives",
			example: "success.forgives = true\nfilter = \"sshd\"",
			text:    "Has a login take back the failures of the same user from the same address before it, in the order of the log. Those on other users stay, and so does a ban. The filter has to know logins (success) and users (<F-USER>), which those of sshd, dovecot and others do; where a connection has tried several users, nothing is taken back.",
		},
	})
	keySuccessMost = declare(jailKey[int]{
		standard: ForgivesMost,
		keyWords: keyWords{
			name:    "success.most",
			shown:   true,
			example: "success.forgives = true\nsuccess.most = 1\nfilter = \"sshd\"",
			text:    "How often within 24 hours failures of an address (or of the network that is counted in its place) are taken back at most, 1 to 100.",
		},
	})
	keyProxyTrusted = declare(jailKey[stringList]{
		keyWords: keyWords{
			name:    "proxy.trusted",
			def:     "that of [proxy]",
			example: `proxy.trusted = ["203.0.113.1"]`,
			text:    "The same as in [proxy], for this jail in its place.",
		},
	})
	keyIgnoreSSH = declare(jailKey[bool]{
		keyWords: keyWords{
			name:    "ignoressh",
			example: `ignoressh = true`,
			text:    "Never bans the other ends of SSH sessions that are open.",
		},
	})
	// Those of growing bans are read by name: ParseIncrease asks fail2ban's jails for them, too.
	_ = declare(jailKey[bool]{
		keyWords: keyWords{
			name:    "bantime.increment",
			example: `"bantime.increment" = true`,
			text:    "Has bans of an address grow with the bans that it has had before.",
		},
	})
	_ = declare(jailKey[text]{
		keyWords: keyWords{
			name:    "bantime.factor",
			def:     "1",
			example: `"bantime.factor" = 2`,
			text:    "The factor in the formula, a number or a calculation.",
		},
	})
	_ = declare(jailKey[string]{
		keyWords: keyWords{
			name:    "bantime.formula",
			def:     "ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor",
			example: `"bantime.formula" = "ban.Time * math.exp(float(ban.Count+1)*banFactor)/math.exp(1*banFactor)"`,
			text:    "How long the next ban is, as fail2ban writes it.",
		},
	})
	_ = declare(jailKey[string]{
		keyWords: keyWords{
			name:    "bantime.multipliers",
			example: `"bantime.multipliers" = "1 5 30 60 300"`,
			text:    "By what the ban time is multiplied at the first ban, the second, and so on, in place of the formula.",
		},
	})
	_ = declare(jailKey[text]{
		keyWords: keyWords{
			name:    "bantime.maxtime",
			time:    true,
			def:     "none",
			example: `"bantime.maxtime" = "5w"`,
			text:    "The longest that it grows to.",
		},
	})
	_ = declare(jailKey[text]{
		keyWords: keyWords{
			name:    "bantime.rndtime",
			time:    true,
			def:     "0",
			example: `"bantime.rndtime" = "10m"`,
			text:    "Up to so much is added by chance, so that nobody can wait for the end.",
		},
	})
	_ = declare(jailKey[bool]{
		keyWords: keyWords{
			name:    "bantime.overalljails",
			example: `"bantime.overalljails" = true`,
			text:    "Counts the bans that an address has had in all jails.",
		},
	})
)

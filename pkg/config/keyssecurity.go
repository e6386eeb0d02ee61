package config

import "reflect"

// securityTable explains what the daemon gives away.
var securityTable = refTable{
	MainFile, "security", reflect.TypeFor[rawSecurity](), nil, []keyWords{
		{
			name:    "confine",
			def:     "true",
			example: `confine = false`,
			text:    "Whether the process that reads logs is confined before it reads the first line: two capabilities, its own files and the logs' directories (Landlock), no program and none of the system calls that it has no use for (seccomp). What it can't do is in docs/operate.md. A change needs a restart.",
		},
		{
			name:    "fixed_actions",
			def:     "true",
			example: `fixed_actions = false`,
			text:    "Whether no command is run but what is configured: commands over the socket are refused, and the process that runs commands reads them from the configuration by itself, where nobody but root (or the user who started the daemon) can write to that. With false, as it is under fail2ban's configuration, it believes the process that reads logs, and who takes that over can run what he likes. A change needs a restart.",
		},
		{
			name:    "user",
			example: `user = "bailiff"`,
			text:    "Whom a daemon that root has started becomes before it reads the first line of a log, where actions are fixed. Without the key it is bailiff if there is such a user, else 65534, if what it writes (directories of database, sockets, log and exports) is to be written by him; else it stays root with two capabilities, and a warning says why. root keeps it root without one. A change needs a restart.",
		},
	},
}

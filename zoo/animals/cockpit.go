package animals

var _ = add(Animal{
	Name:     "cockpit",
	Fail2ban: "-",
	Suites:   []string{Bookworm},
	Lacks:    map[string]string{Trixie: "Cockpit 337 has systemd begin a session, which is not in a root directory"},
	Packages: []string{"cockpit-ws", "cockpit-bridge"},
	Setup:    quickPAM,
	Start:    syslog + `exec /usr/lib/cockpit/cockpit-ws --no-tls --port 9090`,
	Port:     9090,
	Log:      "/var/log/auth.log",
	Success:  `curl -sSf -u alice:right http://$AT:9090/cockpit/login`,
	Ways: []Way{
		{What: "wrong password", Script: get + `-u bob:wrong http://$AT:9090/cockpit/login`, Times: 2},
		{What: "unknown user", Script: get + `-u nobody-here:wrong http://$AT:9090/cockpit/login`},
	},
})

package animals

var _ = add(Animal{
	Name:     "cockpit",
	Fail2ban: "-",
	// Debian 13's wants systemd to start a session.
	Suites:   []string{Bookworm},
	Packages: []string{"cockpit-ws", "cockpit-bridge"},
	Setup:    quickPAM,
	Start:    syslog + `exec /usr/lib/cockpit/cockpit-ws --no-tls --port 9090`,
	Port:     9090,
	Log:      "/var/log/auth.log",
	Success:  `curl -sSf -u alice:right http://$SERVER:9090/cockpit/login`,
	Ways: []Way{
		{What: "wrong password", Script: get + `-u bob:wrong http://$SERVER:9090/cockpit/login`, Times: 2},
		{What: "unknown user", Script: get + `-u nobody-here:wrong http://$SERVER:9090/cockpit/login`},
	},
})

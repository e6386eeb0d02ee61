package animals

var _ = add(Animal{
	Name:      "dropbear",
	Quick:     true,
	OverIPv6:  true,
	InJournal: "SYSLOG_IDENTIFIER=dropbear",
	Packages:  []string{"dropbear-bin"},
	Setup: quickPAM + `mkdir -p /etc/dropbear
cat >/tmp/try <<'X'
sshpass -p "$2" ssh -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o PubkeyAuthentication=no -o NumberOfPasswordPrompts=1 "$1@$SERVER" echo in
X
`,
	Start:   syslog + `dropbear -R -p 22`,
	Port:    22,
	Log:     "/var/log/auth.log",
	Success: `sh /tmp/try alice right`,
	Ways: []Way{
		{What: "wrong password", Script: `sh /tmp/try bob wrong`, Times: 3},
		{What: "unknown user", Script: `sh /tmp/try nobody-here wrong`, Times: 2},
	},
})

package animals

// The names of settings changed with 2.4.
const dovecotSetup = quickPAM + `
echo 'auth_failure_delay = 0' >/etc/dovecot/conf.d/99-zoo.conf
if dovecot --version | grep -q '^2\.3'; then
	echo 'disable_plaintext_auth = no' >>/etc/dovecot/conf.d/99-zoo.conf
else
	echo 'auth_allow_cleartext = yes' >>/etc/dovecot/conf.d/99-zoo.conf
fi
`

var dovecotWays = []Way{
	{What: "wrong password over IMAP", Script: `python3 /zoo/mail.py imap 143 bob wrong`, Times: 2},
	{What: "wrong password over POP3", Script: `python3 /zoo/mail.py pop3 110 bob wrong`, Times: 2},
	{What: "unknown user over IMAP", Script: `python3 /zoo/mail.py imap 143 nobody-here wrong`},
	{What: "unknown user over POP3", Script: `python3 /zoo/mail.py pop3 110 nobody-here wrong`},
	{What: "wrong password over IMAP with TLS", Script: `python3 /zoo/mail.py imap 993 bob wrong`},
}

var _ = add(Animal{
	Name:      "dovecot",
	Quick:     true,
	OverIPv6:  true,
	InJournal: "SYSLOG_IDENTIFIER=dovecot",
	Packages:  []string{"dovecot-core", "dovecot-imapd", "dovecot-pop3d"},
	Setup:     dovecotSetup,
	Start:     syslog + `dovecot`,
	Port:      143,
	Log:       "/var/log/mail.log",
	Success:   `python3 /zoo/mail.py imap 143 alice right; python3 /zoo/mail.py pop3 110 alice right`,
	Ways:      dovecotWays,
})

var _ = add(Animal{
	Name:     "dovecot-verbose",
	Filter:   "dovecot",
	Packages: []string{"dovecot-core", "dovecot-imapd", "dovecot-pop3d"},
	Setup: dovecotSetup + `
echo 'auth_verbose = yes' >>/etc/dovecot/conf.d/99-zoo.conf
`,
	Start:   syslog + `dovecot`,
	Port:    143,
	Log:     "/var/log/mail.log",
	Success: `python3 /zoo/mail.py imap 143 alice right; python3 /zoo/mail.py pop3 110 alice right`,
	Ways:    dovecotWays,
})

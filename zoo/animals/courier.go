package animals

const courierSetup = quickPAM + `
for u in alice bob; do maildirmake.courier /home/$u/Maildir && chown -R $u /home/$u/Maildir; done
mkdir -p /run/courier/authdaemon; chown daemon /run/courier/authdaemon 2>/dev/null || :; chown courier /run/courier/authdaemon 2>/dev/null || :
sed -i 's/^authmodulelist=.*/authmodulelist="authpam"/' /etc/courier/authdaemonrc
`

var _ = add(Animal{
	Name:     "courier-auth",
	Root:     "courier",
	Packages: []string{"courier-imap", "courier-pop", "courier-authdaemon", "courier-mta", "netbase"},
	Setup:    courierSetup,
	Start: syslog + `
/etc/init.d/courier-authdaemon start
/etc/init.d/courier-imap start
/etc/init.d/courier-pop start
`,
	Port:    143,
	Log:     "/var/log/mail.log",
	Success: `python3 /zoo/mail.py imap 143 alice right; python3 /zoo/mail.py pop3 110 alice right`,
	Ways: []Way{
		{What: "wrong password over IMAP", Script: `python3 /zoo/mail.py imap 143 bob wrong`, Times: 2},
		{What: "wrong password over POP3", Script: `python3 /zoo/mail.py pop3 110 bob wrong`, Times: 2},
		{What: "unknown user", Script: `python3 /zoo/mail.py imap 143 nobody-here wrong`},
	},
})

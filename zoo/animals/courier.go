package animals

const courierSetup = quickPAM + `
for u in alice bob; do maildirmake.courier /home/$u/Maildir && chown -R $u /home/$u/Maildir; done
mkdir -p /run/courier/authdaemon; chown daemon /run/courier/authdaemon 2>/dev/null || :; chown courier /run/courier/authdaemon 2>/dev/null || :
sed -i 's/^authmodulelist=.*/authmodulelist="authpam"/' /etc/courier/authdaemonrc
`

var (
	_ = add(Animal{
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
	_ = add(Animal{
		Name:     "courier-smtp",
		Root:     "courier",
		Packages: []string{"courier-imap", "courier-pop", "courier-authdaemon", "courier-mta", "netbase"},
		Setup: courierSetup + `
echo example.org >/etc/courier/me
echo example.org >/etc/courier/locals
echo example.org >/etc/courier/esmtpacceptmailfor
sed -i 's/^ESMTPDSTART=.*/ESMTPDSTART=YES/; s/^BOFHCHECKDNS=.*/BOFHCHECKDNS=0/; s/^ESMTPAUTH=.*/ESMTPAUTH="LOGIN PLAIN"/; s/^BLACKLISTS=.*/BLACKLISTS=""/' /etc/courier/esmtpd
echo 0 >/etc/courier/bofh.dummy; echo 'opt BOFHCHECKDNS=0' >/etc/courier/bofh
`,
		Start: syslog + `
/etc/init.d/courier-authdaemon start
/etc/init.d/courier start || :
cd /usr; set -a; . /etc/courier/esmtpd
/usr/sbin/couriertcpd -stderrlogger=/usr/sbin/courierlogger -user=courier -group=courier \
	-maxprocs=5 -maxperc=5 -maxperip=5 -pid=/run/courier/esmtpd.pid 25 /usr/sbin/courieresmtpd </dev/null
`,
		Port:    25,
		Log:     "/var/log/mail.log",
		Success: `python3 /zoo/mail.py smtp 25 alice right`,
		Ways: []Way{
			{What: "wrong password", Script: `printf "EHLO client.example.net\nAUTH PLAIN $(printf '\0bob\0wrong' | base64)\nQUIT\n" | python3 /zoo/say.py 25`, Times: 2},
			{What: "unknown recipient", Script: `printf 'EHLO client.example.net\nMAIL FROM:<a@example.net>\nRCPT TO:<nobody-here@example.org>\nQUIT\n' | python3 /zoo/say.py 25`},
		},
	})
)

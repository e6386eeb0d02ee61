package animals

var _ = add(Animal{
	Name:     "courier-smtp",
	Root:     "courier",
	Packages: []string{"courier-mta", "courier-authdaemon"},
	Setup: courierSetup + `
for f in me locals defaultdomain; do echo example.org >/etc/courier/$f; done
mkdir -p /etc/courier/esmtpacceptmailfor.dir; echo example.org >/etc/courier/esmtpacceptmailfor.dir/zoo
makeacceptmailfor
sed -i 's/^ULIMIT=.*/ULIMIT=unlimited/; s/^BOFHCHECKDNS=.*/BOFHCHECKDNS=0/; s/^TARPIT=.*/TARPIT=0/; s/^TCPDOPTS="/&-nodnslookup /; s/^ESMTPAUTH=.*/ESMTPAUTH="LOGIN PLAIN"/' /etc/courier/esmtpd
`,
	Start: syslog + `
/etc/init.d/courier-authdaemon start
/usr/sbin/courier start
/usr/sbin/esmtpd start
`,
	Port:    25,
	Log:     "/var/log/mail.log",
	Success: `printf 'EHLO client.example.net\nMAIL FROM:<a@example.net>\nRCPT TO:<alice@example.org>\nQUIT\n' | python3 /zoo/say.py 25 '250 Ok' && python3 /zoo/mail.py smtp 25 alice right`,
	Ways: []Way{
		{What: "wrong password", Script: `printf "EHLO client.example.net\nAUTH PLAIN $(printf '\0bob\0wrong' | base64)\nQUIT\n" | python3 /zoo/say.py 25`, Times: 2},
		{What: "unknown user", Script: `printf "EHLO client.example.net\nAUTH PLAIN $(printf '\0nobody-here\0wrong' | base64)\nQUIT\n" | python3 /zoo/say.py 25`},
		{What: "unknown recipient", Script: `printf 'EHLO client.example.net\nMAIL FROM:<a@example.net>\nRCPT TO:<nobody-here@example.org>\nQUIT\n' | python3 /zoo/say.py 25`},
	},
})

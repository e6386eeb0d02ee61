package animals

var _ = add(Animal{
	Name:     "opensmtpd",
	Suites:   []string{Trixie},
	Lacks:    map[string]string{Bookworm: "OpenSMTPD 6.8.0p2 ends the handshake of each STARTTLS, which AUTH needs, with an error of its own (EVP lib)"},
	Root:     "opensmtpd",
	Fail2ban: "-",
	Packages: []string{"opensmtpd"},
	Setup: quickPAM + `openssl req -x509 -newkey rsa:2048 -nodes -keyout /etc/smtpd.key -out /etc/smtpd.crt -days 30 -subj /CN=mail.example.org
chmod 600 /etc/smtpd.key
cat >/etc/smtpd.conf <<'X'
pki mail.example.org cert "/etc/smtpd.crt"
pki mail.example.org key "/etc/smtpd.key"
table aliases file:/etc/aliases
listen on 0.0.0.0 port 25 tls pki mail.example.org auth-optional
action "local" maildir alias <aliases>
match from any for domain "example.org" action "local"
X
echo mail.example.org >/etc/mailname
touch /etc/aliases
`,
	Start:   syslog + `smtpd`,
	Port:    25,
	Log:     "/var/log/mail.log",
	Success: `python3 /zoo/mail.py smtp 25 alice right tls`,
	Ways: []Way{
		{What: "wrong password", Script: `python3 /zoo/mail.py smtp 25 bob wrong tls`, Times: 2},
		{What: "unknown user", Script: `python3 /zoo/mail.py smtp 25 nobody-here wrong tls`},
		{What: "relaying", Script: `printf 'EHLO client.example.net\nMAIL FROM:<a@example.net>\nRCPT TO:<b@elsewhere.example.com>\nQUIT\n' | python3 /zoo/say.py 25`},
	},
})

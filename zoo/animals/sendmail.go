package animals

const sendmailSetup = `
echo '192.0.2.1 host.example.org host' >>/etc/hosts
sed -i 's/, Addr=127.0.0.1//g; s/^DAEMON_OPTIONS(.Family=inet6.*//' /etc/mail/sendmail.mc
cat >>/etc/mail/sendmail.mc <<'X'
define(` + "`confAUTH_MECHANISMS', `LOGIN PLAIN'" + `)dnl
TRUST_AUTH_MECH(` + "`LOGIN PLAIN'" + `)dnl
define(` + "`confBAD_RCPT_THROTTLE', `0'" + `)dnl
define(` + "`confREFUSE_LA', `10000'" + `)dnl
define(` + "`confQUEUE_LA', `10000'" + `)dnl
FEATURE(` + "`accept_unresolvable_domains'" + `)dnl
X
echo example.org >>/etc/mail/local-host-names
mkdir -p /etc/mail/sasl /usr/lib/sasl2
mkdir -p /etc/sasl2
printf 'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: LOGIN PLAIN\n' >/etc/mail/sasl/Sendmail.conf
cp /etc/mail/sasl/Sendmail.conf /usr/lib/sasl2/
cp /etc/mail/sasl/Sendmail.conf /etc/sasl2/
for r in host host.example.org; do for u in alice bob; do echo right | saslpasswd2 -p -c -u $r $u; done; done
chmod 640 /etc/sasldb2; chgrp smmsp /etc/sasldb2 || :
useradd -m alice; useradd -m bob
cd /etc/mail && m4 /etc/mail/sendmail.mc >/etc/mail/sendmail.cf
newaliases || :
`

var (
	_ = add(Animal{
		Name:     "sendmail-auth",
		Root:     "sendmail",
		Packages: []string{"sendmail-bin", "sendmail-cf", "sasl2-bin", "libsasl2-modules", "m4", "netbase"},
		Setup:    sendmailSetup,
		Start:    syslog + `sendmail-mta -bd -q1h 2>&1 || /usr/libexec/sendmail/sendmail -bd -q1h`,
		Port:     25,
		Log:      "/var/log/mail.log",
		Success:  `python3 /zoo/mail.py smtp 25 alice@host right || python3 /zoo/mail.py smtp 25 alice right`,
		Ways: []Way{
			{What: "wrong password", Script: `printf "EHLO client.example.net\nAUTH PLAIN $(printf '\0bob\0wrong' | base64)\nQUIT\n" | python3 /zoo/say.py 25`, Times: 2},
			{What: "unknown user", Script: `printf "EHLO client.example.net\nAUTH PLAIN $(printf '\0nobody-here\0wrong' | base64)\nQUIT\n" | python3 /zoo/say.py 25`},
		},
	})
	_ = add(Animal{
		Name:     "sendmail-reject",
		Root:     "sendmail",
		Packages: []string{"sendmail-bin", "sendmail-cf", "sasl2-bin", "libsasl2-modules", "m4", "netbase"},
		Setup:    sendmailSetup,
		Start:    syslog + `sendmail-mta -bd -q1h 2>&1 || /usr/libexec/sendmail/sendmail -bd -q1h`,
		Port:     25,
		Log:      "/var/log/mail.log",
		Success:  `printf 'EHLO client.example.net\nMAIL FROM:<a@example.net>\nRCPT TO:<alice@example.org>\nQUIT\n' | python3 /zoo/say.py 25 '250 2.1.5'`,
		Ways: []Way{
			{What: "relaying", Script: `printf 'EHLO client.example.net\nMAIL FROM:<a@example.net>\nRCPT TO:<b@elsewhere.example.com>\nQUIT\n' | python3 /zoo/say.py 25`, Times: 2},
		},
	})
)

package animals

const postfixSetup = quickPAM + `
[ -e /etc/postfix/main.cf ] || cp /usr/share/postfix/main.cf.debian /etc/postfix/main.cf
postconf -e myhostname=mail.example.org mydestination=example.org,localhost inet_protocols=ipv4 compatibility_level=3.6 smtpd_helo_required=yes \
	smtpd_sasl_auth_enable=yes smtpd_sasl_type=dovecot smtpd_sasl_path=private/auth smtpd_tls_security_level=none maillog_file= \
	'smtpd_relay_restrictions=permit_sasl_authenticated reject_unauth_destination' 'smtpd_helo_restrictions=reject_invalid_helo_hostname' \
	'smtpd_sender_restrictions=reject_unknown_sender_domain' mynetworks=127.0.0.0/8 smtpd_error_sleep_time=0
postconf -M 'smtp/inet=smtp inet n - n - - smtpd'
printf 'auth_failure_delay = 0\nauth_mechanisms = plain login\n' >/etc/dovecot/conf.d/99-zoo.conf
cat >>/etc/dovecot/conf.d/99-zoo.conf <<'X'
service auth {
	unix_listener /var/spool/postfix/private/auth {
		mode = 0666
	}
}
X
if dovecot --version | grep -q '^2\.3'; then
	echo 'disable_plaintext_auth = no' >>/etc/dovecot/conf.d/99-zoo.conf
else
	echo 'auth_allow_cleartext = yes' >>/etc/dovecot/conf.d/99-zoo.conf
fi
newaliases
`

const postfixStart = syslog + `postfix start
dovecot
`

const postfixReady = `[ -S /var/spool/postfix/private/auth ]`

// What a client says to send a mail, up to where it is refused.
const (
	smtpRelay   = `printf 'EHLO client.example.net\nMAIL FROM:<a@[192.0.2.7]>\nRCPT TO:<b@elsewhere.example.com>\nQUIT\n' | python3 /zoo/say.py 25`
	smtpUnknown = `printf 'EHLO client.example.net\nMAIL FROM:<a@[192.0.2.7]>\nRCPT TO:<nobody-here@example.org>\nQUIT\n' | python3 /zoo/say.py 25`
	smtpGood    = `printf 'EHLO client.example.net\nMAIL FROM:<a@[198.51.100.7]>\nRCPT TO:<alice@example.org>\nQUIT\n' | python3 /zoo/say.py 25 '250 2.1.5'`
)

var (
	_ = add(Animal{
		Name:     "postfix",
		Root:     "postfix",
		Packages: []string{"postfix", "dovecot-core"},
		Setup:    postfixSetup,
		Start:    postfixStart,
		Port:     25,
		Ready:    postfixReady,
		Log:      "/var/log/mail.log",
		Success:  smtpGood + ` && python3 /zoo/mail.py smtp 25 alice right`,
		Ways: []Way{
			{What: "relaying", Script: smtpRelay, Times: 2},
			{What: "unknown recipient", Script: smtpUnknown, Times: 2},
			{What: "a HELO that is no name", Script: `printf 'HELO b?d\nMAIL FROM:<a@[192.0.2.7]>\nRCPT TO:<alice@example.org>\nQUIT\n' | python3 /zoo/say.py 25`},
		},
	})
	_ = add(Animal{
		Name:     "postfix-sasl",
		Filter:   "postfix",
		Mode:     "auth",
		Root:     "postfix",
		Packages: []string{"postfix", "dovecot-core"},
		Setup:    postfixSetup,
		Start:    postfixStart,
		Port:     25,
		Ready:    postfixReady,
		Log:      "/var/log/mail.log",
		Success:  `python3 /zoo/mail.py smtp 25 alice right`,
		Ways: []Way{
			{What: "wrong password, PLAIN", Script: `printf "EHLO client.example.net\nAUTH PLAIN $(printf '\0bob\0wrong' | base64)\nQUIT\n" | python3 /zoo/say.py 25`, Times: 2},
			{What: "wrong password, LOGIN", Script: `printf "EHLO client.example.net\nAUTH LOGIN\n$(printf bob | base64)\n$(printf wrong | base64)\nQUIT\n" | python3 /zoo/say.py 25`},
			{What: "unknown user", Script: `printf "EHLO client.example.net\nAUTH PLAIN $(printf '\0nobody-here\0wrong' | base64)\nQUIT\n" | python3 /zoo/say.py 25`},
		},
	})
	_ = add(Animal{
		Name:     "postfix-rbl",
		Filter:   "postfix",
		Mode:     "rbl",
		Root:     "postfix",
		Packages: []string{"postfix", "dovecot-core"},
		Setup: postfixSetup + `
postconf -e 'smtpd_recipient_restrictions=reject_rbl_client rbl.example.org'
echo nameserver 127.0.0.1 >/etc/resolv.conf
cat >/tmp/resolver.py <<'X'
# Answers that the attacker is on the list, and that nothing else exists.
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
while True:
	q, who = s.recvfrom(2000)
	listed = b"\x017\x012\x010\x03192\x03rbl" in q
	end = q.index(b"\0", 12) + 5
	if listed and q[end - 3:end - 2] == b"\x01":
		s.sendto(q[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + q[12:end] + b"\xc0\x0c\0\1\0\1\0\0\0\x0a\0\4\x7f\0\0\2", who)
	else:
		s.sendto(q[:2] + b"\x81\x83\0\1\0\0\0\0\0\0" + q[12:end], who)
X
`,
		Start:   `python3 /tmp/resolver.py &` + "\n" + postfixStart,
		Port:    25,
		Ready:   postfixReady,
		Log:     "/var/log/mail.log",
		Success: smtpGood,
		Ways: []Way{
			{What: "on a block list", Script: `printf 'EHLO client.example.net\nMAIL FROM:<a@[192.0.2.7]>\nRCPT TO:<alice@example.org>\nQUIT\n' | python3 /zoo/say.py 25`, Times: 2},
		},
	})
	_ = add(Animal{
		Name:     "exim",
		Root:     "exim",
		Packages: []string{"exim4-daemon-heavy"},
		Setup: quickPAM + `cat >/etc/exim4/exim4.conf <<'X'
primary_hostname = mail.example.org
domainlist local_domains = example.org
acl_smtp_rcpt = check
acl_smtp_mail = accept
acl_smtp_connect = slow
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_max_nonmail = 5
smtp_max_unknown_commands = 3
auth_advertise_hosts = *
pipelining_connect_advertise_hosts =
tls_advertise_hosts =
begin acl
slow:
  accept hosts = 192.0.2.7
    delay = 1s
  accept
check:
  accept authenticated = *
  require message = relay not permitted
    domains = +local_domains
  require verify = recipient
  accept
begin routers
local:
  driver = accept
  check_local_user
  domains = +local_domains
  transport = null
begin transports
null:
  driver = appendfile
  file = /dev/null
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_condition = ${if and{{eq{$auth2}{alice}}{eq{$auth3}{right}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = "Username:: : Password::"
  server_condition = ${if and{{eq{$auth1}{alice}}{eq{$auth2}{right}}}}
  server_set_id = $auth1
X
`,
		Start:   `exim4 -bd -oX 25`,
		Port:    25,
		Log:     "/var/log/exim4/mainlog",
		Success: `printf 'EHLO client.example.net\nMAIL FROM:<a@example.net>\nRCPT TO:<alice@example.org>\nQUIT\n' | python3 /zoo/say.py 25 '250 Accepted' && python3 /zoo/mail.py smtp 25 alice right`,
		Ways: []Way{
			{What: "wrong password, PLAIN", Script: `printf "EHLO client.example.net\nAUTH PLAIN $(printf '\0bob\0wrong' | base64)\nQUIT\n" | python3 /zoo/say.py 25`, Times: 2},
			{What: "wrong password, LOGIN", Script: `printf "EHLO client.example.net\nAUTH LOGIN\n$(printf bob | base64)\n$(printf wrong | base64)\nQUIT\n" | python3 /zoo/say.py 25`},
			{What: "relaying", Script: `printf 'EHLO client.example.net\nMAIL FROM:<a@example.net>\nRCPT TO:<b@elsewhere.example.com>\nQUIT\n' | python3 /zoo/say.py 25`},
			{What: "unknown recipient", Script: `printf 'EHLO client.example.net\nMAIL FROM:<a@example.net>\nRCPT TO:<nobody-here@example.org>\nQUIT\n' | python3 /zoo/say.py 25`},
			{What: "too many unknown commands", Script: `printf 'EHLO client.example.net\nXA\nXB\nXC\nXD\n' | python3 /zoo/say.py 25`},
			{What: "talks before its turn", Script: `printf 'EHLO client.example.net\r\nMAIL FROM:<a@example.net>\r\n' | nc -w 5 $SERVER 25`},
		},
	})
)

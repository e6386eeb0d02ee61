package animals

var _ = add(Animal{
	Name:     "cyrus-imap",
	Root:     "cyrus",
	Packages: []string{"cyrus-imapd", "cyrus-pop3d", "sasl2-bin", "libsasl2-modules", "netbase"},
	Setup: `cat >/etc/imapd.conf <<'X'
configdirectory: /var/lib/cyrus
proc_path: /run/cyrus/proc
mboxname_lockpath: /run/cyrus/lock
lmtpsocket: /run/cyrus/socket/lmtp
idlesocket: /run/cyrus/socket/idle
notifysocket: /run/cyrus/socket/notify
partition-default: /var/spool/cyrus/mail
defaultpartition: default
admins: cyrus
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_mech_list: PLAIN LOGIN
servername: host
syslog_prefix: cyrus
failedloginpause: 0
X
sed -i '/nntp/d; /http/d' /etc/cyrus.conf
for u in alice bob; do echo right | saslpasswd2 -p -c -u host $u; done
chown cyrus /etc/sasldb2
mkdir -p /run/cyrus/proc /run/cyrus/lock /run/cyrus/socket; chown -R cyrus:mail /run/cyrus
`,
	Start:   syslog + `/usr/sbin/cyrmaster -d || /usr/lib/cyrus/bin/master -d`,
	Port:    143,
	Log:     "/var/log/mail.log",
	Success: `python3 /zoo/mail.py imap 143 alice right`,
	Ways: []Way{
		{What: "wrong password over IMAP", Script: `python3 /zoo/mail.py imap 143 bob wrong`, Times: 2},
		{What: "wrong password over POP3", Script: `python3 /zoo/mail.py pop3 110 bob wrong`},
		{What: "unknown user", Script: `python3 /zoo/mail.py imap 143 nobody-here wrong`},
	},
})

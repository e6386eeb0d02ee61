package animals

var _ = add(Animal{
	Name:     "cyrus-imap",
	Root:     "cyrus",
	Packages: []string{"cyrus-imapd", "cyrus-pop3d", "sasl2-bin", "libsasl2-modules"},
	Setup: `sed -i 's/^sasl_pwcheck_method.*/sasl_pwcheck_method: auxprop/; s/^#*allowplaintext.*/allowplaintext: yes/; s/^#*sasl_mech_list.*/sasl_mech_list: PLAIN LOGIN/' /etc/imapd.conf
grep -q ^allowplaintext /etc/imapd.conf || echo 'allowplaintext: yes' >>/etc/imapd.conf
cat >>/etc/imapd.conf <<'X'
sasl_auxprop_plugin: sasldb
servername: host
autocreate_quota: 0
autocreate_post: yes
failedloginpause: 0
X
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

package animals

var _ = add(Animal{
	Name:     "ejabberd-auth",
	Root:     "ejabberd",
	Packages: []string{"ejabberd"},
	Setup: xmppClient + `cat >/etc/ejabberd/ejabberd.yml <<'X'
hosts: [example.org]
loglevel: info
listen:
  - {port: 5222, ip: "0.0.0.0", module: ejabberd_c2s, starttls: false, access: c2s}
auth_method: internal
access_rules: {c2s: {allow: all}}
acl: {}
modules: {}
X
chown ejabberd /etc/ejabberd/ejabberd.yml
sed -i 's/127.0.1.1.*/127.0.0.1 host/' /etc/hosts
`,
	Start: `mkdir -p /run/ejabberd; chown ejabberd /run/ejabberd /var/log/ejabberd
ejabberdctl start
for i in $(seq 60); do ejabberdctl status >/dev/null 2>&1 && break; sleep 0.5; done
for u in alice bob; do ejabberdctl register $u example.org right; done
touch /tmp/ready`,
	Ready:   `[ -e /tmp/ready ]`,
	Port:    5222,
	Log:     "/var/log/ejabberd/ejabberd.log",
	Success: `python3 /tmp/xmpp.py alice right`,
	Ways: []Way{
		{What: "wrong password", Script: `python3 /tmp/xmpp.py bob wrong`, Times: 2},
		{What: "unknown user", Script: `python3 /tmp/xmpp.py nobody-here wrong`},
	},
})

package animals

// xmpp.py USER PASSWORD logs in with PLAIN, without TLS; it prints what it hears.
const xmppClient = `cat >/tmp/xmpp.py <<'X'
import base64, os, socket, sys
s = socket.create_connection((os.environ["SERVER"], 5222), 20)
def hear(*ends):
	said = b""
	while not any(e in said for e in ends):
		more = s.recv(4096)
		if not more:
			break
		said += more
	sys.stdout.write(said.decode())
	return said
s.sendall(b"<?xml version='1.0'?><stream:stream to='example.org' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>")
hear(b"</stream:features>")
auth = base64.b64encode(b"\0" + sys.argv[1].encode() + b"\0" + sys.argv[2].encode())
s.sendall(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + auth + b"</auth>")
ok = b"<success" in hear(b"<success", b"</failure>", b"</stream:stream>")
s.close()
sys.exit(0 if ok else 1)
X
`

var _ = add(Animal{
	Name:     "prosody",
	Quick:    true,
	Fail2ban: "-",
	Packages: []string{"prosody", "prosody-modules", "lua-event"},
	Setup: xmppClient + `cat >/etc/prosody/prosody.cfg.lua <<'X'
plugin_paths = { "/usr/lib/prosody/modules" }
modules_enabled = { "saslauth", "disco", "log_auth" }
modules_disabled = { "s2s" }
allow_unencrypted_plain_auth = true
c2s_require_encryption = false
authentication = "internal_plain"
pidfile = "/run/prosody/prosody.pid"
log = { info = "/var/log/prosody/prosody.log" }
VirtualHost "example.org"
X
mkdir -p /run/prosody; chown prosody /run/prosody
for u in alice bob; do prosodyctl register $u example.org right; done
`,
	Start:   `setpriv --reuid prosody --regid prosody --clear-groups prosody -F`,
	Port:    5222,
	Log:     "/var/log/prosody/prosody.log",
	Success: `python3 /tmp/xmpp.py alice right`,
	Ways: []Way{
		{What: "wrong password", Script: `python3 /tmp/xmpp.py bob wrong`, Times: 2},
		{What: "unknown user", Script: `python3 /tmp/xmpp.py nobody-here wrong`},
	},
})

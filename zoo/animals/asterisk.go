package animals

const asteriskSetup = `cat >/etc/asterisk/pjsip.conf <<'X'
[transport-udp]
type=transport
protocol=udp
bind=0.0.0.0
[alice]
type=aor
max_contacts=5
[alice]
type=auth
auth_type=userpass
username=alice
password=right
[alice]
type=endpoint
context=default
disallow=all
allow=ulaw
auth=alice
aors=alice
X
cat >/etc/asterisk/manager.conf <<'X'
[general]
enabled = yes
bindaddr = 0.0.0.0
[alice]
secret = right
read = all
write = all
X
cat >/etc/asterisk/extensions.conf <<'X'
[default]
exten => 100,1,Hangup()
X
cat >/tmp/manager.py <<'X'
# manager.py USER PASSWORD logs in to the manager interface.
import os, socket, sys
s = socket.create_connection((os.environ["SERVER"], 5038), 20)
s.sendall(("Action: Login\r\nUsername: %s\r\nSecret: %s\r\n\r\n" % (sys.argv[1], sys.argv[2])).encode())
said = b""
while b"Response: " not in said or b"\r\n\r\n" not in said:
	more = s.recv(4000)
	if not more:
		break
	said += more
print(said.decode())
sys.exit(0 if b"Success" in said else 1)
X
cat >/tmp/sip.py <<'X'
# sip.py REGISTER|INVITE USER TARGET [PASSWORD]: without a password, one request; else, its
# challenge is answered. TARGET is who is called.
import hashlib, os, re, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
s.connect((os.environ["SERVER"], 5060))
me = "%s:%d" % s.getsockname()
method, user, call = sys.argv[1], sys.argv[2], os.urandom(6).hex()
to = sys.argv[3] + "@example.org"
uri = "sip:example.org" if method == "REGISTER" else "sip:" + to
def ask(seq, more=""):
	s.send(("%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;rport;branch=z9hG4bK%s%d\r\nFrom: <sip:%s@example.org>;tag=1\r\nTo: <sip:%s>\r\nCall-ID: %s\r\nCSeq: %d %s\r\nContact: <sip:%s@%s>\r\nMax-Forwards: 70\r\nExpires: 60\r\n%sContent-Length: 0\r\n\r\n" % (method, uri, me, call, seq, user, to, call, seq, method, user, me, more)).encode())
	while True:
		answer = s.recv(4000).decode()
		if not answer.startswith("SIP/2.0 1") and "CSeq: %d" % seq in answer:
			return answer
answer = ask(1)
print(answer.split("\r\n")[0])
if len(sys.argv) > 4:
	get = lambda name: re.search(name + '="?([^",]*)', answer).group(1)
	h = lambda *p: hashlib.md5(":".join(p).encode()).hexdigest()
	realm, nonce = get("realm"), get("nonce")
	response = h(h(user, realm, sys.argv[4]), nonce, "00000001", "abc", "auth", h(method, uri))
	opaque = re.search('opaque="([^"]*)"', answer)
	answer = ask(2, 'Authorization: Digest username="%s",realm="%s",nonce="%s",uri="%s",response="%s",algorithm=MD5,qop=auth,nc=00000001,cnonce="abc"%s\r\n' % (user, realm, nonce, uri, response, ',opaque="%s"' % opaque.group(1) if opaque else ""))
	print(answer.split("\r\n")[0])
sys.exit(0 if answer.startswith("SIP/2.0 200") else 1)
X
`

func asterisk(a Animal) struct{} {
	a.Filter = "asterisk"
	a.Suites = []string{Sid}
	a.Lacks = map[string]string{Bookworm: "it has no package", Trixie: "it has no package"}
	a.Root = "asterisk"
	a.Packages = []string{"asterisk"}
	a.Setup = asteriskSetup + a.Setup
	a.Start = `asterisk -f -U asterisk`
	a.Ready = `asterisk -rx 'core waitfullybooted' | grep -q 'fully booted'`
	a.Port, a.UDP = 5060, true
	a.Success = `python3 /tmp/sip.py REGISTER alice alice right && python3 /tmp/manager.py alice right`
	return add(a)
}

var (
	_ = asterisk(Animal{
		Name: "asterisk",
		Log:  "/var/log/asterisk/messages.log",
		Ways: []Way{
			{What: "wrong password", Script: `python3 /tmp/sip.py REGISTER alice alice wrong`, Times: 2},
			{What: "unknown user", Script: `python3 /tmp/sip.py REGISTER nobody-here nobody-here`, Times: 2},
			{What: "a call without a name", Script: `python3 /tmp/sip.py INVITE nobody-here 0044123`},
			{What: "a number that alice mistypes", Script: `python3 /tmp/sip.py INVITE alice 0044123 right`, Uncounted: true},
			{What: "manager, wrong password", Script: `python3 /tmp/manager.py alice wrong`},
			{What: "manager, unknown user", Script: `python3 /tmp/manager.py nobody-here wrong`},
		},
	})
	_ = asterisk(Animal{
		Name:     "asterisk-anonymous", // where calls of strangers are let in
		Fail2ban: "asterisk",
		Setup: `cat >>/etc/asterisk/pjsip.conf <<'X'
[anonymous]
type=endpoint
context=default
disallow=all
allow=ulaw
X
`,
		Log: "/var/log/asterisk/messages.log",
		Ways: []Way{
			{What: "a call to nowhere", Script: `python3 /tmp/sip.py INVITE nobody-here 0044123`, Times: 2},
			{What: "registration, unknown user", Script: `python3 /tmp/sip.py REGISTER nobody-here nobody-here`},
			{What: "registration, wrong password", Script: `python3 /tmp/sip.py REGISTER alice alice wrong`},
		},
	})
	_ = asterisk(Animal{
		Name:     "asterisk-security",
		Fail2ban: "asterisk",
		Setup: `cat >/etc/asterisk/logger.conf <<'X'
[general]
dateformat=%F %T
[logfiles]
security => security
X
`,
		Log: "/var/log/asterisk/security",
		Ways: []Way{
			{What: "wrong password", Script: `python3 /tmp/sip.py REGISTER alice alice wrong`, Times: 2},
			{What: "unknown user", Script: `python3 /tmp/sip.py REGISTER nobody-here nobody-here`},
			{What: "manager, wrong password", Script: `python3 /tmp/manager.py alice wrong`},
			{What: "manager, unknown user", Script: `python3 /tmp/manager.py nobody-here wrong`},
		},
	})
)

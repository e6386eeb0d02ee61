package animals

var _ = add(Animal{
	Name:   "asterisk",
	Suites: []string{Sid},
	Lacks:  map[string]string{Bookworm: "it has no package", Trixie: "it has no package"},
	Root:   "asterisk",
	Packages: []string{
		"asterisk",
	},
	Setup: `cat >/etc/asterisk/pjsip.conf <<'X'
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
cat >/etc/asterisk/logger.conf <<'X'
[general]
dateformat=%F %T
[logfiles]
messages => notice,warning,error
X
cat >/tmp/register.py <<'X'
# register.py USER [PASSWORD]: without a password, one request; else, its challenge is answered.
import hashlib, os, re, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
s.connect((os.environ["SERVER"], 5060))
me = "%s:%d" % s.getsockname()
user, call = sys.argv[1], os.urandom(6).hex()
def ask(seq, more=""):
	s.send(("REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP %s;rport;branch=z9hG4bK%s%d\r\nFrom: <sip:%s@example.org>;tag=1\r\nTo: <sip:%s@example.org>\r\nCall-ID: %s\r\nCSeq: %d REGISTER\r\nContact: <sip:%s@%s>\r\nMax-Forwards: 70\r\nExpires: 60\r\n%sContent-Length: 0\r\n\r\n" % (me, call, seq, user, user, call, seq, user, me, more)).encode())
	while True:
		answer = s.recv(4000).decode()
		if not answer.startswith("SIP/2.0 1"):
			return answer
answer = ask(1)
print(answer.split("\r\n")[0])
if len(sys.argv) > 2:
	get = lambda name: re.search(name + '="?([^",]*)', answer).group(1)
	h = lambda *p: hashlib.md5(":".join(p).encode()).hexdigest()
	realm, nonce = get("realm"), get("nonce")
	response = h(h(user, realm, sys.argv[2]), nonce, "00000001", "abc", "auth", h("REGISTER", "sip:example.org"))
	opaque = re.search('opaque="([^"]*)"', answer)
	answer = ask(2, 'Authorization: Digest username="%s",realm="%s",nonce="%s",uri="sip:example.org",response="%s",algorithm=MD5,qop=auth,nc=00000001,cnonce="abc"%s\r\n' % (user, realm, nonce, response, ',opaque="%s"' % opaque.group(1) if opaque else ""))
	print(answer.split("\r\n")[0])
sys.exit(0 if answer.startswith("SIP/2.0 200") else 1)
X
`,
	Start:   `asterisk -f -U asterisk`,
	Ready:   `asterisk -rx 'core waitfullybooted' | grep -q 'fully booted'`,
	Port:    5060,
	UDP:     true,
	Log:     "/var/log/asterisk/messages",
	Success: `python3 /tmp/register.py alice right`,
	Ways: []Way{
		{What: "wrong password", Script: `python3 /tmp/register.py alice wrong`, Times: 2},
		{What: "unknown user", Script: `python3 /tmp/register.py nobody-here`, Times: 2},
	},
})

package animals

// Tools are what clients' scripts use beside the root's own programs, by name; they stand
// in /zoo.
var Tools = map[string]string{
	// mail.py imap|pop3|smtp PORT USER PASSWORD logs in, over TLS on the ports that are for it.
	"mail.py": `import imaplib, os, poplib, smtplib, ssl, sys
kind, port, user, password = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
server = os.environ["SERVER"]
any = ssl._create_unverified_context()
if kind == "imap":
	c = imaplib.IMAP4_SSL(server, port, ssl_context=any) if port == 993 else imaplib.IMAP4(server, port)
	c.login(user, password)
	c.logout()
elif kind == "pop3":
	c = poplib.POP3_SSL(server, port, context=any) if port == 995 else poplib.POP3(server, port)
	c.user(user)
	c.pass_(password)
	c.quit()
else:
	c = smtplib.SMTP(server, port, local_hostname="client.example.net")
	c.ehlo()
	if c.has_extn("starttls") and len(sys.argv) > 5:
		c.starttls(context=any)
		c.ehlo()
	c.user, c.password = user, password
	c.auth("PLAIN", c.auth_plain) # login would try each way there is
	c.quit()
`,
	// say.py PORT writes its standard input, a line at a time, each after an answer; it
	// prints the answers, and fails if none begins with what comes after the port.
	"say.py": `import os, socket, sys
s = socket.create_connection((os.environ["SERVER"], int(sys.argv[1])), 20)
f = s.makefile("rb")
heard = [f.readline()]
for line in sys.stdin.buffer.read().splitlines():
	s.sendall(line + b"\r\n")
	while True:
		answer = f.readline()
		heard.append(answer)
		if answer[3:4] != b"-":
			break
sys.stdout.buffer.write(b"".join(heard))
want = [w.encode() for w in sys.argv[2:]]
sys.exit(0 if all(any(h.startswith(w) for h in heard) for w in want) else 1)
`,
	// ftp.py USER PASSWORD logs in and lists.
	"ftp.py": `import ftplib, os, sys
c = ftplib.FTP(os.environ["SERVER"], timeout=30)
c.login(sys.argv[1], sys.argv[2])
c.pwd()
c.quit()
`,
	// dns.py PORT NAME TYPE [tcp] asks, and fails if the answer's code is not 0.
	"dns.py": `import os, socket, struct, sys
kinds = {"A": 1, "AXFR": 252}
name = b"".join(bytes([len(l)]) + l.encode() for l in sys.argv[2].split(".") if l) + b"\0"
q = struct.pack(">HHHHHH", 4711, 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", kinds[sys.argv[3]], 1)
to = (os.environ["SERVER"], int(sys.argv[1]))
if "tcp" in sys.argv:
	s = socket.create_connection(to, 20)
	s.sendall(struct.pack(">H", len(q)) + q)
	a = s.recv(2000)[2:]
else:
	s = socket.socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET, socket.SOCK_DGRAM)
	s.settimeout(20)
	s.sendto(q, to)
	a = s.recv(2000)
code = a[3] & 15
print("code", code)
sys.exit(code)
`,
}

// quickPAM takes the seconds away that PAM lets a client wait after a wrong password, and
// makes alice and bob, whose password is "right".
const quickPAM = `sed -i "s/pam_unix.so nullok/pam_unix.so nullok nodelay/" /etc/pam.d/common-auth
for u in alice bob; do useradd -m -s /bin/bash $u; echo $u:right | chpasswd; done
`

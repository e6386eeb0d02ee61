package animals

var _ = add(Animal{
	Name:     "openvpn",
	Packages: []string{"openvpn"},
	Setup: `cd /etc/openvpn
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 30 -subj /CN=ca
openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=server
printf 'extendedKeyUsage=serverAuth\nkeyUsage=digitalSignature,keyEncipherment\n' >server.ext
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 30 -extfile server.ext
openssl req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.crt -days 30 -subj /CN=other
printf '#!/bin/sh\n[ "$username" = alice ] && [ "$password" = right ]\n' >check
chmod +x check
cat >server.conf <<'X'
proto udp4
port 1194
dev tun
topology subnet
server 203.0.113.0 255.255.255.0
ca ca.crt
cert server.crt
key server.key
dh none
verify-client-cert none
auth-user-pass-verify /etc/openvpn/check via-env
script-security 3
hand-window 10
verb 3
X
printf 'alice\nright\n' >/tmp/good
printf 'bob\nwrong\n' >/tmp/bad
cat >/tmp/try.py <<'X'
# try.py FILE: connects, and ends once the tunnel is up, or refused.
import os, subprocess, sys
c = subprocess.Popen(["openvpn", "--client", "--dev", "tun", "--route-nopull", "--ifconfig-noexec", "--proto", "udp4", "--remote", os.environ["SERVER"], "1194", "--ca", "/etc/openvpn/ca.crt",
	"--auth-user-pass", sys.argv[1], "--auth-retry", "none", "--connect-retry-max", "1", "--verb", "3"], stdout=subprocess.PIPE, text=True)
up = False
for line in c.stdout:
	print(line, end="")
	if "Initialization Sequence Completed" in line:
		up = True
		c.terminate()
c.wait()
sys.exit(0 if up else 1)
X
`,
	Start:   `cd /etc/openvpn; exec openvpn --config server.conf --log-append /var/log/openvpn/openvpn.log`,
	Port:    1194,
	UDP:     true,
	Log:     "/var/log/openvpn/openvpn.log",
	Success: `python3 /tmp/try.py /tmp/good`,
	Ways: []Way{
		{What: "wrong password", Script: `python3 /tmp/try.py /tmp/bad`, Times: 2},
	},
})

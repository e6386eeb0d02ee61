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
dev null
mode server
tls-server
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
cat >/tmp/try <<'X'
# try FILE OPTIONS...
file=$1; shift
cd /etc/openvpn
timeout 60 openvpn --client --dev null --proto udp4 --remote $SERVER 1194 --ca ca.crt --auth-user-pass $file --connect-retry-max 1 --resolv-retry 0 \
	--auth-retry none --verb 3 "$@" >/tmp/said.$$ 2>&1 &
for i in $(seq 600); do
	grep -q "Initialization Sequence Completed" /tmp/said.$$ && { kill $!; wait; exit 0; }
	kill -0 $! 2>/dev/null || break
	sleep 0.1
done
cat /tmp/said.$$
exit 1
X
`,
	Start:   `cd /etc/openvpn; exec openvpn --config server.conf --log-append /var/log/openvpn/openvpn.log`,
	Port:    1194,
	UDP:     true,
	Log:     "/var/log/openvpn/openvpn.log",
	Success: `sh /tmp/try /tmp/good`,
	Ways: []Way{
		{What: "wrong password", Script: `sh /tmp/try /tmp/bad`, Times: 2},
	},
})

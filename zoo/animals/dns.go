package animals

var (
	_ = add(Animal{
		Name:     "named-refused",
		OverIPv6: true,
		Packages: []string{"bind9"},
		Setup: `cat >/etc/bind/named.conf <<'X'
options { directory "/var/cache/bind"; recursion yes; allow-recursion { 127.0.0.1; }; allow-query-cache { 127.0.0.1; }; allow-query { any; }; allow-transfer { none; }; listen-on-v6 { any; }; dnssec-validation no; };
zone "example.org" { type primary; file "/etc/bind/zone"; };
zone "secret.example.org" { type primary; file "/etc/bind/zone"; allow-query { none; }; };
logging { channel s { file "/var/log/named/security.log"; print-time yes; print-category yes; print-severity yes; }; category security { s; }; };
X
cat >/etc/bind/zone <<'X'
$TTL 60
@ IN SOA ns root 1 60 60 60 60
@ IN NS ns
@ IN A 198.51.100.1
ns IN A 198.51.100.1
X
mkdir -p /var/log/named /run/named; chown -R bind /var/log/named /run/named
`,
		Start:   `named -u bind`,
		Port:    53,
		Log:     "/var/log/named/security.log",
		Success: `python3 /zoo/dns.py 53 example.org A && python3 /zoo/dns.py 53 example.org A tcp`,
		Ways: []Way{
			{What: "a name of somebody else's", Script: `python3 /zoo/dns.py 53 www.example.com A`, Times: 2},
			{What: "a zone that is not for everybody", Script: `python3 /zoo/dns.py 53 secret.example.org A tcp`},
			{What: "a transfer", Script: `python3 /zoo/dns.py 53 example.org AXFR tcp`},
		},
	})
	_ = add(Animal{
		Name:     "nsd",
		Packages: []string{"nsd"},
		Setup: `cat >/etc/nsd/nsd.conf <<'X'
server:
	logfile: "/var/log/nsd.log"
	log-time-ascii: yes
	verbosity: 2
	username: nsd
	pidfile: "/tmp/nsd.pid"
remote-control:
	control-enable: no
zone:
	name: example.org
	zonefile: /etc/nsd/zone
X
cat >/etc/nsd/zone <<'X'
$TTL 60
@ IN SOA ns root 1 60 60 60 60
@ IN NS ns
ns IN A 198.51.100.1
X
mkdir -p /var/lib/nsd /run/nsd; chown nsd /var/lib/nsd /run/nsd
`,
		Start:   `nsd -c /etc/nsd/nsd.conf`,
		Port:    53,
		Log:     "/var/log/nsd.log",
		Success: `python3 /zoo/dns.py 53 ns.example.org A`,
		Ways: []Way{
			{What: "a transfer", Script: `python3 /zoo/dns.py 53 example.org AXFR tcp`, Times: 2},
		},
	})
)

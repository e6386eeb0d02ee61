package animals

var _ = add(Animal{
	Name:     "kamailio",
	Fail2ban: "-",
	Packages: []string{"kamailio"},
	// The line is that of kamailio's own example configuration.
	Setup: `cat >/etc/kamailio/zoo.cfg <<'X'
#!KAMAILIO
debug=2
log_stderror=no
fork=yes
children=1
listen=udp:0.0.0.0:5060
loadmodule "xlog.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "pike.so"
modparam("pike", "sampling_time_unit", 600)
modparam("pike", "reqs_density_per_unit", 4)
modparam("pike", "remove_latency", 700)
request_route {
	if (!pike_check_req()) {
		xlog("L_ALERT","ALERT: pike blocking $rm from $fu (IP:$si:$sp)\n");
		exit;
	}
	sl_send_reply("200", "OK");
}
X
cat >/tmp/sip.py <<'X'
import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(float(sys.argv[2]))
s.connect((os.environ["SERVER"], 5060))
for i in range(int(sys.argv[1])):
	s.send(("OPTIONS sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;rport;branch=z9hG4bK%d\r\nFrom: <sip:bob@example.org>;tag=1\r\nTo: <sip:example.org>\r\nCall-ID: %d@x\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n" % (i, i)).encode())
	try:
		print(s.recv(2000).split(b"\r\n")[0])
	except TimeoutError:
		print("no answer")
		if len(sys.argv) > 3:
			sys.exit(1)
X
mkdir -p /run/kamailio
`,
	Start:   syslog + `kamailio -f /etc/kamailio/zoo.cfg`,
	Port:    5060,
	UDP:     true,
	Log:     "/var/log/syslog",
	Success: `python3 /tmp/sip.py 1 10 must`,
	Ways: []Way{
		{What: "more than pike lets through", Script: `python3 /tmp/sip.py 30 1`, Counts: 3},
	},
})

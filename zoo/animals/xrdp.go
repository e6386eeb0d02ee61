package animals

var _ = add(Animal{
	Name:     "xrdp",
	Root:     "xrdp",
	Packages: []string{"xrdp", "rdesktop", "xvfb", "tigervnc-standalone-server", "openssl", "netbase"},
	// Sessions are of Xvnc alone: of a client that sends a password the first kind is taken.
	Setup: quickPAM + `cat >/tmp/ini.py <<'X'
import re
text = open("/etc/xrdp/xrdp.ini").read()
parts = re.split(r"(?m)^(?=\[)", text)
keep = [p for p in parts if not re.match(r"\[(Xorg|vnc-any|neutrinordp-any|Xorg-fuse)\]", p)]
open("/etc/xrdp/xrdp.ini", "w").write("".join(keep))
X
python3 /tmp/ini.py
[ -s /etc/xrdp/key.pem ] || { openssl req -x509 -newkey rsa:2048 -nodes -keyout /etc/xrdp/key.pem -out /etc/xrdp/cert.pem -days 30 -subj /CN=host; chmod 644 /etc/xrdp/key.pem; }
mkdir -p /run/xrdp/sockdir /run/xrdp; chown -R xrdp /run/xrdp 2>/dev/null || :
chmod 3777 /run/xrdp/sockdir
cat >/tmp/try <<'X'
# try USER PASSWORD WHAT: connects, and stays until the log of sessions says WHAT of the address
# once more than before, or ten seconds.
log=/var/log/xrdp-sesman.log
n=$(($$ % 20000 + 100)); was=$(grep -c "$3" $log)
Xvfb :$n -screen 0 800x600x16 >/dev/null 2>&1 &
x=$!
for i in $(seq 100); do [ -e /tmp/.X11-unix/X$n ] && break; sleep 0.1; done
echo yes | DISPLAY=:$n rdesktop -u "$1" -p "$2" -g 640x480 $SERVER >/tmp/rdesktop.$n 2>&1 &
r=$!
for i in $(seq 100); do [ $(grep -c "$3" $log) -gt $was ] && break; sleep 0.1; done
[ $(grep -c "$3" $log) -gt $was ] && ok=0 || ok=1
kill $r $x 2>/dev/null
[ $ok = 0 ] || cat /tmp/rdesktop.$n
exit $ok
X
`,
	Start:   `xrdp-sesman; xrdp`,
	Port:    3389,
	Log:     "/var/log/xrdp-sesman.log",
	Success: `sh /tmp/try alice right 'ccess .*alice'`,
	Ways: []Way{
		{What: "wrong password", Script: `sh /tmp/try bob wrong AUTHFAIL`, Times: 2},
		{What: "unknown user", Script: `sh /tmp/try nobody-here wrong AUTHFAIL`},
	},
})

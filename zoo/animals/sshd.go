package animals

var _ = add(Animal{
	Name:      "sshd",
	Quick:     true,
	OverIPv6:  true,
	InJournal: "SYSLOG_IDENTIFIER=sshd + SYSLOG_IDENTIFIER=sshd-session",
	Packages:  []string{"openssh-server"},
	Setup: quickPAM + `mkdir -p /run/sshd
cat >/etc/ssh/sshd_config.d/zoo.conf <<X
PasswordAuthentication yes
KbdInteractiveAuthentication yes
MaxAuthTries 6
X
# OpenSSH 9.8 and newer shut the attacker out for a while by themselves.
if /usr/sbin/sshd -t -o PerSourcePenalties=no 2>/dev/null; then echo PerSourcePenalties no >>/etc/ssh/sshd_config.d/zoo.conf; fi
cat >/tmp/try <<'X'
# try USER METHOD TRIES PASSWORD
sshpass -p "$4" ssh -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o PubkeyAuthentication=no \
	-o PreferredAuthentications=$2 -o NumberOfPasswordPrompts=$3 -o ConnectTimeout=20 "$1@$SERVER" echo in
X
# Several guesses over one connection: sshpass gives up after the first.
cat >/tmp/tries <<'X'
import pty, os, sys
pid, fd = pty.fork()
if pid == 0:
	os.execlp("ssh", "ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "PubkeyAuthentication=no",
		"-o", "PreferredAuthentications=" + sys.argv[2], "-o", "NumberOfPasswordPrompts=" + sys.argv[3], sys.argv[1] + "@" + os.environ["SERVER"])
said = b""
while True:
	try:
		more = os.read(fd, 1000)
	except OSError:
		break
	if not more:
		break
	said += more
	if b"assword:" in said:
		said = b""
		os.write(fd, b"wrong\n")
X
`,
	Start:   syslog + `/usr/sbin/sshd`,
	Port:    22,
	Log:     "/var/log/auth.log",
	Success: `sh /tmp/try alice password 1 right`,
	Ways: []Way{
		{What: "wrong password", Script: `sh /tmp/try bob password 1 wrong`, Times: 2},
		{What: "unknown user", Script: `sh /tmp/try nobody-here password 1 wrong`, Times: 2},
		{What: "three wrong passwords on one connection", Script: `python3 /tmp/tries bob password 3`, Counts: 3},
		{What: "three wrong passwords of an unknown user on one connection", Script: `python3 /tmp/tries nobody-here password 3`, Counts: 3},
		{What: "keyboard-interactive", Script: `sh /tmp/try bob keyboard-interactive 1 wrong`},
		{What: "keyboard-interactive, unknown user", Script: `sh /tmp/try nobody-here keyboard-interactive 1 wrong`},
		{What: "as many as MaxAuthTries lets", Script: `python3 /tmp/tries bob password 6`, Counts: 6},
		{What: "unknown user without a password", Script: `ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null nobody-here@$SERVER`},
	},
})

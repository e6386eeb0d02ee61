package animals

const sudoBlind = "sudo names no address of the network: rhost= of PAM's line is empty, or the machine's own name (Defaults pam_rhost), and its own line has a terminal and no host, or the machine's (log_host)"

// Who has a key, or the password of an account, and guesses at that of sudo.
var _ = add(Animal{
	Name:     "sudo",
	Root:     "sudo",
	Fail2ban: "-",
	Packages: []string{"sudo", "openssh-server"},
	Blind:    map[string]string{Bookworm: sudoBlind, Trixie: sudoBlind},
	Setup: quickPAM + `mkdir -p /run/sshd
echo 'Defaults log_host, log_year, pam_rhost' >/etc/sudoers.d/zoo
echo 'bob ALL=(ALL) ALL' >>/etc/sudoers.d/zoo
echo 'alice ALL=(ALL) ALL' >>/etc/sudoers.d/zoo
cat >/tmp/try <<'X'
# try USER GUESSES: logs in, and gives each guess to sudo.
(for g in $2; do echo $g; done) >/tmp/guesses.$$
sshpass -p right ssh -tt -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o PubkeyAuthentication=no "$1@$SERVER" "sudo -S id </tmp/guesses.$$"
X
chmod 644 /tmp/try
`,
	Start:   syslog + `/usr/sbin/sshd`,
	Port:    22,
	Log:     "/var/log/auth.log",
	Success: `sh /tmp/try alice right`,
	Ways: []Way{
		{What: "a wrong password", Script: `sh /tmp/try bob wrong`, Times: 2},
		{What: "three wrong passwords", Script: `sh /tmp/try bob "wrong wrong wrong"`},
	},
})

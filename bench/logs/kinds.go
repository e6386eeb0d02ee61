package logs

import (
	"fmt"
	"strings"
)

// Sessions, with the words that the services write.

func (g *generator) sshAttack() {
	ip, port, pid := g.ip(), g.port(), g.process()
	say := func(format string, args ...any) string {
		return fmt.Sprintf("sshd[%d]: ", pid) + fmt.Sprintf(format, args...)
	}
	switch u := g.user(); g.r.IntN(6) {
	case 0: // root, by password
		g.session(
			say("pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=%s  user=root", ip),
			say("Failed password for root from %s port %d ssh2", ip, port),
			say("Received disconnect from %s port %d:11: Bye Bye [preauth]", ip, port),
			say("Disconnected from authenticating user root %s port %d [preauth]", ip, port))
	case 1, 2: // somebody who is not there
		g.session(
			say("Invalid user %s from %s port %d", u, ip, port),
			say("pam_unix(sshd:auth): check pass; user unknown"),
			say("pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=%s ", ip),
			say("Failed password for invalid user %s from %s port %d ssh2", u, ip, port),
			say("Connection closed by invalid user %s %s port %d [preauth]", u, ip, port))
	case 3: // many tries on one connection
		g.session(
			say("Failed password for root from %s port %d ssh2", ip, port),
			say("Failed password for root from %s port %d ssh2", ip, port),
			say("Failed password for root from %s port %d ssh2", ip, port),
			say("error: maximum authentication attempts exceeded for root from %s port %d ssh2 [preauth]", ip, port),
			say("Disconnecting authenticating user root %s port %d: Too many authentication failures [preauth]", ip, port))
	case 4: // a user who may not
		g.session(
			say("User %s from %s not allowed because not listed in AllowUsers", u, ip),
			say("Failed password for invalid user %s from %s port %d ssh2", u, ip, port),
			say("Connection closed by invalid user %s %s port %d [preauth]", u, ip, port))
	default: // by key
		g.session(
			say("Failed publickey for root from %s port %d ssh2: RSA SHA256:4Fh0Zk1n8Qm5sJr2tVw7xYb3cD6eG9hK0lN1oP4qR8s", ip, port),
			say("Connection closed by authenticating user root %s port %d [preauth]", ip, port))
	}
}

func (g *generator) authNormal() {
	switch n := g.r.IntN(100); {
	case n < 34: // cron
		pid, user := g.process(), g.pick("root", "root", "www-data", "backup")
		g.session(
			fmt.Sprintf("CRON[%d]: pam_unix(cron:session): session opened for user %s(uid=0) by (uid=0)", pid, user),
			fmt.Sprintf("CRON[%d]: pam_unix(cron:session): session closed for user %s", pid, user))
	case n < 56: // somebody logs in
		ip, port, pid, who, id := g.ip(), g.port(), g.process(), g.person(), g.r.IntN(10000)
		g.session(
			fmt.Sprintf("sshd[%d]: Accepted publickey for %s from %s port %d ssh2: ED25519 SHA256:u9PzXq2mN7bV5cL8kJ4hG1fD3sA6wE0rT2yU9iO5pQ4", pid, who, ip, port),
			fmt.Sprintf("sshd[%d]: pam_unix(sshd:session): session opened for user %s(uid=1000) by (uid=0)", pid, who),
			fmt.Sprintf("systemd-logind[612]: New session %d of user %s.", id, who),
			fmt.Sprintf("systemd: pam_unix(systemd-user:session): session opened for user %s(uid=1000) by (uid=0)", who),
			fmt.Sprintf("sshd[%d]: Received disconnect from %s port %d:11: disconnected by user", pid, ip, port),
			fmt.Sprintf("sshd[%d]: Disconnected from user %s %s port %d", pid, who, ip, port),
			fmt.Sprintf("sshd[%d]: pam_unix(sshd:session): session closed for user %s", pid, who),
			fmt.Sprintf("systemd-logind[612]: Session %d logged out. Waiting for processes to exit.", id),
			fmt.Sprintf("systemd-logind[612]: Removed session %d.", id))
	case n < 90: // sudo
		who := g.person()
		g.session(
			fmt.Sprintf("sudo:     %s : TTY=pts/%d ; PWD=/home/%s ; USER=root ; COMMAND=/usr/bin/%s", who, g.r.IntN(9), who, g.pick("systemctl restart nginx", "apt-get update", "tail -f /var/log/syslog", "journalctl -u ssh")),
			fmt.Sprintf("sudo: pam_unix(sudo:session): session opened for user root(uid=0) by %s(uid=1000)", who),
			"sudo: pam_unix(sudo:session): session closed for user root")
	default: // su, polkit
		g.session(
			fmt.Sprintf("su: (to postgres) %s on pts/%d", g.person(), g.r.IntN(9)),
			"su: pam_unix(su-l:session): session opened for user postgres(uid=115) by (uid=0)",
			fmt.Sprintf("polkitd(authority=local): Registered Authentication Agent for unix-process:%d:%d (system bus name :1.%d [pkttyagent --notify-fd 5 --fallback], object path /org/freedesktop/PolicyKit1/AuthenticationAgent, locale en_US.UTF-8)", g.process(), g.r.IntN(1e8), g.r.IntN(1000)))
	}
}

const browser = `"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"`

func (g *generator) accessNormal() {
	path := g.pick("/", "/index.html", "/static/app.css", "/static/app.js", "/img/logo.png", "/api/v1/items?page=2", "/blog/2026/01/hello", "/favicon.ico")
	g.session(fmt.Sprintf(`%s - - [%%t] "GET %s HTTP/1.1" %s %d "https://www.example.org/" %s`, g.ip(), path, g.pick("200", "200", "200", "304", "301", "404"), g.r.IntN(90000), browser))
}

func (g *generator) accessAttack() {
	path := g.pick("/phpmyadmin/index.php", "/phpMyAdmin/scripts/setup.php", "/wp-login.php", "/mysqladmin/index.php", "/cgi-bin/test.cgi", "/roundcube/", "/webdav/")
	g.session(fmt.Sprintf(`%s - - [%%t] "GET %s HTTP/1.1" 404 %d "-" %s`, g.ip(), path, g.r.IntN(900), browser))
}

func (g *generator) nginxLine(level, text, ip, request string) string {
	return fmt.Sprintf(`[%s] %d#%d: *%d %s, client: %s, server: www.example.org, request: "%s", host: "www.example.org"`, level, 900+g.r.IntN(4), 900, g.r.IntN(1e7), text, ip, request)
}

func (g *generator) nginxAttack() {
	ip := g.ip()
	if g.r.IntN(2) == 0 {
		g.session(g.nginxLine("error", fmt.Sprintf(`user "%s": password mismatch`, g.user()), ip, "GET /private/ HTTP/1.1"))
		return
	}
	g.session(g.nginxLine("error", fmt.Sprintf(`user "%s" was not found in "/etc/nginx/htpasswd"`, g.user()), ip, "GET /private/ HTTP/1.1"))
}

func (g *generator) nginxNormal() {
	g.session(g.nginxLine("error", g.pick(
		`open() "/srv/www/robots.txt" failed (2: No such file or directory)`,
		`upstream timed out (110: Connection timed out) while reading response header from upstream`,
		`directory index of "/srv/www/img/" is forbidden`,
		`recv() failed (104: Connection reset by peer) while reading response header from upstream`), g.ip(), "GET /robots.txt HTTP/1.1"))
}

func (g *generator) apacheLine(module, text string) string {
	return fmt.Sprintf("[%s] [pid %d:tid 1400%d] [client %s:%d] %s", module, g.process(), g.r.IntN(1e8), g.ip(), g.port(), text)
}

func (g *generator) apacheAttack() {
	g.session(g.apacheLine("auth_basic:error", g.pick(
		fmt.Sprintf("AH01617: user %s: authentication failure for \"/private/\": Password Mismatch", g.user()),
		fmt.Sprintf("AH01618: user %s not found: /private/", g.user()))))
}

func (g *generator) apacheNormal() {
	g.session(g.apacheLine("core:info", g.pick(
		"AH00128: File does not exist: /srv/www/robots.txt",
		"AH00112: Warning: DocumentRoot [/srv/none] does not exist",
		"AH01276: Cannot serve directory /srv/www/img/: No matching DirectoryIndex (index.html) found, and server-generated directory index forbidden by Options directive")))
}

func (g *generator) mailAttack() {
	ip, pid := g.ip(), g.process()
	host := g.pick("unknown", "mail.example.net")
	g.session(
		fmt.Sprintf("postfix/smtpd[%d]: connect from %s[%s]", pid, host, ip),
		fmt.Sprintf("postfix/smtpd[%d]: warning: %s[%s]: SASL LOGIN authentication failed: UGFzc3dvcmQ6", pid, host, ip),
		fmt.Sprintf("postfix/smtpd[%d]: NOQUEUE: reject: RCPT from %s[%s]: 554 5.7.1 <x@example.com>: Relay access denied; from=<a@example.net> to=<x@example.com> proto=ESMTP helo=<host>", pid, host, ip),
		fmt.Sprintf("postfix/smtpd[%d]: lost connection after AUTH from %s[%s]", pid, host, ip),
		fmt.Sprintf("postfix/smtpd[%d]: disconnect from %s[%s] ehlo=1 auth=0/1 commands=1/2", pid, host, ip))
}

func (g *generator) mailNormal() {
	id := strings.ToUpper(fmt.Sprintf("%010x", g.r.Uint64N(1<<40)))
	switch g.r.IntN(3) {
	case 0:
		g.session(
			fmt.Sprintf("postfix/smtpd[%d]: connect from mail.example.org[%s]", g.process(), g.ip()),
			fmt.Sprintf("postfix/smtpd[%d]: %s: client=mail.example.org[%s]", g.process(), id, g.ip()),
			fmt.Sprintf("postfix/cleanup[%d]: %s: message-id=<%d.%s@mail.example.org>", g.process(), id, g.r.IntN(1e9), id),
			fmt.Sprintf("postfix/qmgr[811]: %s: from=<%s@example.org>, size=%d, nrcpt=1 (queue active)", id, g.person(), g.r.IntN(1e6)),
			fmt.Sprintf("postfix/local[%d]: %s: to=<%s@example.com>, relay=local, delay=0.1%d, delays=0.05/0.01/0/0.05, dsn=2.0.0, status=sent (delivered to mailbox)", g.process(), id, g.person(), g.r.IntN(9)),
			fmt.Sprintf("postfix/qmgr[811]: %s: removed", id))
	case 1:
		who := g.person()
		g.session(
			fmt.Sprintf("dovecot: imap-login: Login: user=<%s>, method=PLAIN, rip=%s, lip=192.0.2.1, mpid=%d, TLS, session=<%s>", who, g.ip(), g.process(), id),
			fmt.Sprintf("dovecot: imap(%s)<%d><%s>: Logged out in=%d out=%d deleted=0 expunged=0 trashed=0 hdr_count=0 hdr_bytes=0 body_count=0 body_bytes=0", who, g.process(), id, g.r.IntN(9000), g.r.IntN(90000)))
	default:
		g.session(fmt.Sprintf("amavis[%d]: (%d-01) Passed CLEAN {RelayedInbound}, [%s]:%d [%s] <a@example.net> -> <b@example.org>, Queue-ID: %s, size: %d, queued_as: %s, %d ms", g.process(), g.process(), g.ip(), g.port(), g.ip(), id, g.r.IntN(1e5), id, g.r.IntN(2000)))
	}
}

func (g *generator) dovecotAttack() {
	ip, who := g.ip(), g.user()
	g.session(g.pick(
		fmt.Sprintf("dovecot: imap-login: Disconnected (auth failed, 1 attempts in 2 secs): user=<%s>, method=PLAIN, rip=%s, lip=192.0.2.1, TLS, session=<aBcD>", who, ip),
		fmt.Sprintf("dovecot: pop3-login: Aborted login (auth failed, 3 attempts in 11 secs): user=<%s>, method=PLAIN, rip=%s, lip=192.0.2.1, session=<aBcD>", who, ip),
		fmt.Sprintf("dovecot: auth-worker(%d): pam(%s,%s): unknown user", g.process(), who, ip),
		fmt.Sprintf("auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser=%s rhost=%s", who, ip)))
}

func (g *generator) ban() {
	g.session(fmt.Sprintf("fail2ban.actions        [%d]: NOTICE  [%s] Ban %s", 812, g.pick("sshd", "nginx-http-auth", "postfix"), g.ip()))
}

func (g *generator) found() {
	g.session(fmt.Sprintf("fail2ban.filter         [%d]: INFO    [%s] Found %s - 2026-01-31 12:00:00", 812, g.pick("sshd", "nginx-http-auth", "postfix"), g.ip()))
}

func (g *generator) mixedAttack() {
	switch g.r.IntN(3) {
	case 0:
		g.sshAttack()
	case 1:
		g.mailAttack()
	default:
		g.dovecotAttack()
	}
}

func (g *generator) mixedNormal() {
	switch g.r.IntN(4) {
	case 0:
		g.authNormal()
	case 1:
		g.mailNormal()
	case 2:
		g.session(fmt.Sprintf("kernel: [%d.%06d] [UFW BLOCK] IN=eth0 OUT= MAC=00:16:3e:00:00:01:00:16:3e:00:00:02:08:00 SRC=%s DST=192.0.2.1 LEN=40 TOS=0x00 PREC=0x00 TTL=245 ID=%d PROTO=TCP SPT=%d DPT=%d WINDOW=1024 RES=0x00 SYN URGP=0",
			g.r.IntN(1e6), g.r.IntN(1e6), g.ip(), g.r.IntN(65536), g.port(), g.r.IntN(10000)))
	default:
		unit := g.pick("logrotate.service", "apt-daily.service", "man-db.service", "fstrim.service")
		g.session(fmt.Sprintf("systemd[1]: Starting %s...", unit), fmt.Sprintf("systemd[1]: %s: Succeeded.", unit), fmt.Sprintf("systemd[1]: Finished %s.", unit))
	}
}

# bailiff migrate under a real systemd: from Debian's fail2ban, a service, to ours as one; a
# boot; and back with --back, and a boot. All the while somebody who is banned knocks.
. /vm/lib.sh
log=/var/log/app/auth.log

explain() {
	tail -n 8 /tmp/said | cut -c 1-200
	systemctl --no-pager -l status fail2ban bailiff-fail2ban 2>&1 | tail -n 12 | cut -c 1-200
	nft list ruleset 2>&1 | grep -A1 elements | head -n 6
}
is() { [ "$(systemctl show -p "$2" --value "$1")" = "$3" ]; }
listed() { fail2ban-client status shop 2>/dev/null | grep -qw "$1"; }
debs() { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >/tmp/said 2>&1; }
enabled() { [ "$(systemctl is-enabled "$1" 2>/dev/null)" = "$2" ]; }
no_table_between() { ! nft list tables | grep -q bailiff-migrate; }
change() {
	: >/tmp/through
	: >/tmp/knocks
	touch /tmp/knocking
	while [ -e /tmp/knocking ]; do
		if gets_through 192.0.2.1; then echo through >>/tmp/through; fi
		echo knock >>/tmp/knocks
	done &
	within 30 [ -s /tmp/knocks ]
	_was=$(up)
	/usr/local/sbin/bailiff migrate "$@" >/tmp/said 2>&1
	_came=$?
	echo "# $(($(up) - _was)) s: $(tail -n 1 /tmp/said | cut -c 1-200)"
	rm /tmp/knocking
	wait
	return $_came
}
shut_out() {
	echo "# $(wc -l </tmp/knocks) knocks"
	[ -s /tmp/knocks ] && [ ! -s /tmp/through ]
}

network
echo "# phase $phase: $(date '+%F %T'), kernel $(uname -r), $(systemctl --version | head -n 1)"
case $phase in
1)
	mkdir -p /var/log/app /etc/fail2ban/jail.d
	: >$log
	cat >/etc/fail2ban/jail.d/zz-shop.local <<-END
		[DEFAULT]
		banaction = nftables[type=multiport]
		[sshd]
		enabled = false
		[shop]
		enabled = true
		backend = polling
		filter =
		failregex = ^ Login failure <HOST>\$
		logpath = $log
		port = 0:65535
		maxretry = 3
		bantime = 1d
	END
	expect "fail2ban is installed" debs /var/cache/fail2ban/*.deb
	expect "it runs" within 120 listed log
	echo "# fail2ban $(fail2ban-client version)"
	fail2ban-client set shop banip 192.0.2.1 192.0.2.2 192.0.2.3 >/dev/null
	expect "it bans" within 120 held 192.0.2.3 shop
	install -m 0755 /vm/bailiff /usr/local/sbin/bailiff
	expect "a dry run" /usr/local/sbin/bailiff migrate --dry-run
	expect "changes nothing" is fail2ban ActiveState active
	expect "changed over" change
	expect "nobody came through" shut_out
	expect "the service is ours" is bailiff-fail2ban ActiveState active
	expect "and not theirs" is fail2ban ActiveState inactive
	expect "at the next boot, too" enabled bailiff-fail2ban enabled
	expect "and theirs not" enabled fail2ban disabled
	for n in 1 2 3; do
		expect "192.0.2.$n is banned in the kernel" held 192.0.2.$n shop
		expect "and so says fail2ban's client" listed 192.0.2.$n
	done
	expect "the table between is gone" no_table_between
	expect "a process of fail2ban's name" pgrep -x fail2ban-server
	expect "it reloads" systemctl reload bailiff-fail2ban
	fails 192.0.2.4 3 Login $log
	expect "it bans" within 60 held 192.0.2.4 shop
	;;
2)
	expect "ours runs after a boot" within 120 is bailiff-fail2ban ActiveState active
	expect "and fail2ban does not" is fail2ban ActiveState inactive
	expect "the bans are there" within 60 held 192.0.2.1 shop
	expect "and were in force before the network came up" grep -q 192.0.2.1 /run/at-network
	expect "changed back" change --back
	expect "nobody came through" shut_out
	expect "the service is theirs" is fail2ban ActiveState active
	expect "at the next boot, too" enabled fail2ban enabled
	expect "the unit that was written is gone" is bailiff-fail2ban LoadState not-found
	for n in 1 2 3 4; do
		expect "192.0.2.$n is banned in the kernel" held 192.0.2.$n shop
		expect "and so says fail2ban" listed 192.0.2.$n
	done
	expect "the table between is gone" no_table_between
	;;
3)
	expect "fail2ban runs after a boot" within 120 is fail2ban ActiveState active
	expect "with the bans" within 120 listed 192.0.2.4
	expect "and he is refused" within 60 refused 192.0.2.4
	expect "ours does not" is bailiff-fail2ban LoadState not-found
	echo done
	;;
esac
systemctl poweroff

# The packages under a real systemd, one phase a boot: readiness, reload, watchdog, the
# journal, logs over a rotation, the walls around the daemon; power lost with bans in force,
# and a boot: bans before the network, after nftables.service; upgrade and purge;
# bailiff-fail2ban over an installed fail2ban, the same, and back.
. /vm/lib.sh
log=/var/log/app/auth.log
unit=bailiff

explain() {
	systemctl --no-pager -l status $unit 2>&1 | tail -n 15 | cut -c 1-200
	nft list ruleset 2>&1 | grep -A1 elements | head -n 6
}
ctl() { if [ $unit = bailiff ]; then bailiff "$@"; else fail2ban-client "$@" 2>&1; fi; }
listed() { ctl status "$2" 2>/dev/null | grep -qw "$1"; }
both() { held "$1" "$2" && listed "$1" "$2"; }
# A quick machine comes to systemd's limit of five starts in ten seconds.
restarted() { systemctl reset-failed $unit && systemctl restart $unit; }
answers() { ctl status "$@" >/dev/null; }
is() { [ "$(systemctl show -p "$2" --value "$1")" = "$3" ]; }
since() { systemctl show -p "$2" --value "$1"; } # a time by the monotonic clock, in µs
earlier() { [ "$1" -gt 0 ] && [ "$2" -gt 0 ] && [ "$1" -le "$2" ]; }
said() { journalctl -b -u $unit -o cat --no-pager | grep -q "$1"; }
unsaid() { ! said "$1"; }
walled() { grep -q '^Seccomp:	2$' /proc/"$1"/status && grep -q '^NoNewPrivs:	1$' /proc/"$1"/status; }
# As the unit has it; what held is told with its errno, what did not ends it.
walls() {
	bailiff walls >/tmp/walls 2>&1
	_came=$?
	echo "# $(grep -c '^E[A-Z]* ' /tmp/walls) walls: $(cut -d' ' -f1 /tmp/walls | grep -E '^(E[A-Z]+|OPEN)$' | sort | uniq -c | tr -s '\n ' ' ')"
	[ $_came = 0 ] || { cat /tmp/walls; return 1; }
}
# In the database, whatever becomes of the machine.
stored() { python3 -c 'import sqlite3, sys; sys.exit(not sqlite3.connect("file:%s?mode=ro" % sys.argv[1], uri=True).execute("select 1 from bips where ip=? and jail=?", sys.argv[2:]).fetchone())' "$@" 2>/dev/null; }
debs() { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends --allow-downgrades "$@" >/tmp/apt.log 2>&1 || { cat /tmp/apt.log; return 1; }; }
removes() { DEBIAN_FRONTEND=noninteractive apt-get remove -y "$@" >/tmp/apt.log 2>&1 || { cat /tmp/apt.log; return 1; }; }
purge() { DEBIAN_FRONTEND=noninteractive apt-get purge -y "$@" >/tmp/apt.log 2>&1 || { cat /tmp/apt.log; return 1; }; }

# The process that reads logs and bans.
reader() {
	for p in $(cat /sys/fs/cgroup/system.slice/$unit.service/cgroup.procs); do
		if ls -l /proc/"$p"/fd 2>/dev/null | grep -q "$log"; then echo "$p"; return; fi
	done
	systemctl show -p MainPID --value $unit
}

# After a start has returned: nobody waits.
ready() {
	expect "$unit: a start returns when it answers" answers
	expect "$unit: and when bans are in the kernel" held "$1" "$2"
}

# keeping BANNED JAIL: looks until /tmp/lost is gone whether the kernel holds it. What else nft says on a
# busy machine is told, and is no loss.
keeping() {
	: >/tmp/lost
	: >/tmp/odd
	while [ -e /tmp/lost ]; do
		_said=$(nft get element inet f2b-table "addr-set-$2" "{ $1 }" 2>&1) || case $_said in
		*"No such file"*) echo "$_said" >>/tmp/lost ;;
		*) echo "$_said" >>/tmp/odd ;;
		esac
		sleep 0.1
	done &
}
kept() {
	sed 's/^/# nft: /' /tmp/lost /tmp/odd | head -n 6
	[ ! -s /tmp/lost ]
}

# All threads have stopped: what goes on before goes without those that are still to stop.
attached() { _n=$(grep -c '^\[New LWP' /tmp/gdb.log) && [ "$(grep -c 'stopped\.$' /tmp/gdb.log)" -ge "$_n" ]; }

# While a jail is stopped by a debugger, all else of the process is free to run.
stop_jail() {
	pid=$(reader)
	at=new
	[ $phase != 1 ] || at=old
	printf 'set pagination off\nset confirm off\nset non-stop on\nset debuginfod enabled off\nhandle all nostop noprint pass\nhandle SIGTRAP stop nopass\nattach %s\n' "$pid" >/tmp/gdb
	rm -f /tmp/gdb.log
	(within 90 attached; echo "break *$(cat /vm/address.$at)"; echo 'continue -a &'; sleep 120) | gdb -q -nx -x /tmp/gdb >/tmp/gdb.log 2>&1 &
	within 90 grep -q Continuing /tmp/gdb.log
	sleep 2
	fails "$1" 1 Login $log
	if within 30 grep -q 'hit Breakpoint' /tmp/gdb.log; then ok "$unit: a debugger stops a jail"; else not "$unit: a debugger stops a jail"; cat /tmp/gdb.log; fi
}

# watchdog BANNED JAIL
watchdog() {
	mkdir -p /run/systemd/system/$unit.service.d
	printf '[Service]\nWatchdogSec=20s\n' >/run/systemd/system/$unit.service.d/watchdog.conf
	systemctl daemon-reload
	restarted
	sleep 25
	expect "$unit: well for longer than WatchdogSec=" is $unit NRestarts 0
	keeping "$1" "$2"
	stop_jail 192.0.2.8
	was=$(up)
	expect "$unit: a jail that stands still has the service started anew" within 90 is $unit NRestarts 1
	echo "# after $(($(up) - was)) s: $(journalctl -b -u $unit -o cat --no-pager | grep -i 'watchdog' | tail -n 2 | tr '\n' ';' | cut -c 1-200)"
	journalctl -b -u $unit -o cat --no-pager | grep 'gets no keep-alive' | tail -n 1 | cut -c 1-160 | sed 's/^/# /'
	expect "$unit: and it answers" within 60 both "$1" "$2"
	fails 192.0.2.8 2 Login $log
	expect "$unit: the line that it stood at was counted, with those after it" within 60 both 192.0.2.8 "$2"
	kill -STOP "$(reader)"
	expect "$unit: a process that is stopped is started anew" within 120 is $unit NRestarts 2
	expect "$unit: and it answers" within 60 both "$1" "$2"
	kill -KILL "$(reader)"
	expect "$unit: one that is killed is started anew" within 60 is $unit NRestarts 3
	expect "$unit: and it answers" within 60 both "$1" "$2"
	expect "$unit: the ban was in force all the while" kept
	rm -f /tmp/lost
	rm -r /run/systemd/system/$unit.service.d
	systemctl daemon-reload
	restarted
}

# at_boot BANNED JAIL: what stood in the kernel when the network came up.
at_boot() {
	expect "$unit: runs after a boot" within 120 is $unit ActiveState active
	expect "$unit: the ban is in list and kernel" within 30 both "$1" "$2"
	expect "$unit: and he is refused" refused "$1"
	expect "$unit: the ban was in force before the network came up" grep -q "$1" /run/at-network
	expect "$unit: started after nftables.service" earlier "$(since nftables ActiveEnterTimestampMonotonic)" "$(since $unit ExecMainStartTimestampMonotonic)"
	expect "$unit: ready before the network" earlier "$(since $unit ActiveEnterTimestampMonotonic)" "$(since systemd-networkd ExecMainStartTimestampMonotonic)"
	cycles=$(journalctl -b -o cat --no-pager | grep -i 'ordering cycle' | cut -c 1-200)
	expect "$unit: no ordering cycle ${cycles}" [ -z "$cycles" ]
	expect "$unit: not started twice" is $unit NRestarts 0
	nft list ruleset >/tmp/before
	systemctl restart nftables # as Debian has it: flush ruleset
	expect "$unit: a flushed ruleset is filled again" within 30 held "$1" "$2"
}

network
echo "# phase $phase: $(date '+%F %T'), kernel $(uname -r), $(systemctl --version | head -n 1)"
case $phase in
1)
	mkdir -p -m 0700 /var/log/app
	install -m 0600 /dev/null $log # root's alone
	expect "the package is installed" debs /vm/old/bailiff_*.deb
	expect "the service runs" is bailiff ActiveState active
	expect "and is enabled" systemctl is-enabled -q bailiff
	mkdir -p /etc/bailiff
	cat >/etc/bailiff/bailiff.toml <<-END
		[jail.app]
		enabled = true
		logpath = "$log"
		filter = "login"
		maxretry = 3
		bantime = "1h"
		protocol = "all"
	END
	echo "failregex = '^ Login failure <ADDR>\$'" >/etc/bailiff/filters/login.toml
	expect "restarted with a jail" restarted
	pid=$(reader)
	expect "it is not root: $(ps -o user= -p "$pid"), $(grep CapEff /proc/"$pid"/status)" [ "$(ps -o user= -p "$pid")" = bailiff ]
	expect "with two capabilities" [ "$(sed -n 's/^CapEff:\t*//p' /proc/"$pid"/status)" = 0000000000001004 ]
	expect "and its system calls are filtered: $(grep -E '^(Seccomp|NoNewPrivs):' /proc/"$pid"/status | tr -s '\t\n' ' ')" walled "$pid"
	expect "no word of a kernel that can't confine" unsaid 'Landlock\|seccomp'
	expect "every wall holds, tried from inside" walls
	expect "who is not banned gets through" within 30 gets_through 192.0.2.1
	fails 192.0.2.1 3 Login $log
	expect "failed logins in a log of root's are banned" within 30 both 192.0.2.1 app
	expect "and refused" refused 192.0.2.1

	systemctl stop bailiff
	expect "stopped: the ban stays" held 192.0.2.1 app
	nft delete table inet f2b-table
	systemctl reset-failed bailiff
	systemctl start bailiff
	ready 192.0.2.1 app

	cat >>/etc/bailiff/bailiff.toml <<-END
		[jail.more]
		enabled = true
		filter = "login"
		logpath = "$log"
		maxretry = 9
	END
	expect "a reload is done" systemctl reload bailiff
	expect "and when it is, the new jail is there" answers more
	sed -i 's/^bantime = "1h"/bantime = "one hour"/' /etc/bailiff/bailiff.toml
	if systemctl reload bailiff 2>/dev/null; then not "a reload with a mistake fails"; else ok "a reload with a mistake fails"; fi
	expect "the journal has its file and line" within 10 said 'bailiff.toml:6.*one hour'
	expect "the service goes on" is bailiff ActiveState active
	expect "and so does the jail" both 192.0.2.1 app
	sed -i 's/^bantime = "one hour"/bantime = "1h"/' /etc/bailiff/bailiff.toml
	expect "mended, it reloads" systemctl reload bailiff

	# A first command: the daemon is started anew, and root is there to run it, and for nothing else.
	expect "no commands, no process of root's" is bailiff-runner ActiveState inactive
	cat >>/etc/bailiff/bailiff.toml <<-END
		[jail.app.action.tell]
		ban = "id -u >/run/told.<ip>"
	END
	expect "a reload with a first command" systemctl reload bailiff
	expect "is taken" within 60 is bailiff-runner ActiveState active
	expect "and the ban is there" within 60 both 192.0.2.1 app
	fails 192.0.2.5 3 Login $log
	expect "which is run as root" within 60 grep -qx 0 /run/told.192.0.2.5
	expect "the daemon is not root still" [ "$(ps -o user= -p "$(reader)")" = bailiff ]

	sed -i '1i logtarget = "/var/log/bailiff/bailiff.log"' /etc/bailiff/bailiff.toml
	expect "restarted with a log that is a file" restarted
	expect "which it writes" within 30 [ -s /var/log/bailiff/bailiff.log ]
	expect "logrotate turns it" logrotate -f /etc/logrotate.d/bailiff
	bailiff ban app 203.0.113.7 >/dev/null
	expect "and the new file is written" within 30 grep -q 203.0.113.7 /var/log/bailiff/bailiff.log
	sed -i 1d /etc/bailiff/bailiff.toml
	restarted

	cat >>/etc/bailiff/bailiff.toml <<-END
		[jail.journal]
		enabled = true
		failregex = '^\\s*\\S+ vmapp(?:\\[\\d+\\])?: Login failure <ADDR>\$'
		backend = "systemd"
		journalmatch = "SYSLOG_IDENTIFIER=vmapp"
		maxretry = 3
	END
	expect "restarted with a jail of the journal" restarted
	sleep 3
	for _ in 1 2 3; do echo "Login failure 192.0.2.3" | systemd-cat -t vmapp; done
	expect "failed logins in the journal are banned, without root" within 60 both 192.0.2.3 journal

	watchdog 192.0.2.1 app
	fails 192.0.2.2 3 Login $log
	expect "one more is banned" within 30 both 192.0.2.2 app
	expect "and written" within 30 stored /var/lib/bailiff/bailiff.sqlite3 192.0.2.2 app
	if [ "$(systemd-detect-virt --container)" = none ]; then
		echo "# the power goes"
		echo b >/proc/sysrq-trigger
		sleep 60
	fi
	;;
2)
	at_boot 192.0.2.1 app
	expect "who was banned last before the power went, too" within 10 both 192.0.2.2 app
	keeping 192.0.2.1 app
	was=$(bailiff version)
	expect "upgraded" debs /vm/new/bailiff_*.deb
	expect "from $was to $(bailiff version)" [ "$was" != "$(bailiff version)" ]
	pid=$(reader)
	expect "the new one runs" [ "$(readlink /proc/"$pid"/exe)" = /usr/sbin/bailiff ]
	expect "with jails and bans" within 60 both 192.0.2.2 app
	expect "which were in force all the while" kept
	rm -f /tmp/lost
	;;
3)
	at_boot 192.0.2.2 app
	ready 192.0.2.2 app
	expect "removed" removes bailiff
	expect "and installed again" debs /vm/new/bailiff_*.deb
	ready 192.0.2.2 app
	expect "it is enabled again" systemctl is-enabled -q bailiff
	systemctl disable -q --now bailiff
	expect "removed, and switched off before" removes bailiff
	expect "and installed again" debs /vm/new/bailiff_*.deb
	expect "it is off still" is bailiff ActiveState inactive
	expect "and disabled" [ "$(systemctl is-enabled bailiff)" = disabled ]
	rm /etc/bailiff/filters/login.toml # ours, no package's
	expect "removed, with the configuration" purge bailiff
	left=$(find / -xdev -name '*bailiff*' ! -path '/proc/*' ! -path '/vm/*' ! -path '/var/log/journal/*' ! -path '/tmp/*' ! -path '/var/lib/systemd/*' 2>/dev/null)
	expect "nothing is left of it $left" [ -z "$left" ]
	expect "no table" [ -z "$(nft list tables | grep f2b)" ]
	expect "nobody banned" within 10 gets_through 192.0.2.1
	expect "no unit" is bailiff LoadState not-found

	# fail2ban, as it is.
	mkdir -p /etc/fail2ban/jail.d
	cat >/etc/fail2ban/jail.d/zz-shop.local <<-END
		[DEFAULT]
		banaction = nftables[type=multiport]
		banaction_allports = nftables[type=allports]
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
	: >$log
	unit=fail2ban
	expect "fail2ban is installed" debs /var/cache/fail2ban/*.deb
	expect "and runs" within 60 is fail2ban ActiveState active
	expect "and answers" within 60 listed log shop
	fails 192.0.2.4 3 Login $log
	expect "and bans" within 60 listed 192.0.2.4 shop
	useradd -m bailiff # somebody's name
	expect "bailiff is installed beside it" debs /vm/new/bailiff_*.deb
	expect "and leaves it alone" is fail2ban ActiveState active
	expect "with its bans" both 192.0.2.4 shop
	expect "not to exclude it at the next boot" [ "$(systemctl is-enabled bailiff)" = disabled ]
	expect "bailiff migrate" bailiff migrate
	expect "writes a service" systemctl is-enabled -q bailiff-fail2ban
	expect "with the bans" both 192.0.2.4 shop
	expect "bailiff is purged" purge bailiff
	expect "and fail2ban is on again" is fail2ban ActiveState active
	expect "with the bans" within 60 both 192.0.2.4 shop
	expect "whoever has the user's name keeps it" [ -d ~bailiff ]
	userdel -r bailiff 2>/dev/null
	expect "nothing is left of the service" [ ! -e /etc/systemd/system/bailiff-fail2ban.service ]
	expect "bailiff is installed, once more" debs /vm/new/bailiff_*.deb
	expect "bailiff migrate, once more" bailiff migrate
	unit=bailiff-fail2ban
	expect "bailiff-fail2ban is installed over it" debs /vm/new/bailiff_*.deb /vm/new/bailiff-fail2ban_*.deb
	ready 192.0.2.4 shop
	expect "its bans are there" both 192.0.2.4 shop
	expect "it is enabled" systemctl is-enabled -q bailiff-fail2ban
	expect "bailiff's own service is not at work" is bailiff ActiveState inactive
	expect "fail2ban.service is it" is fail2ban Id bailiff-fail2ban.service
	systemctl disable -q bailiff-fail2ban
	systemctl enable -q bailiff-fail2ban
	expect "switched off and on for the next boot, it runs" is bailiff-fail2ban ActiveState active
	expect "fail2ban.service is restarted by that name" systemctl restart fail2ban
	ready 192.0.2.4 shop
	expect "a process of fail2ban's name" pgrep -x fail2ban-server
	sed -i 's/^bantime.*/bantime = 2d/' /etc/fail2ban/jail.d/zz-shop.local
	expect "and reloaded" systemctl reload fail2ban
	expect "with what is new" [ "$(fail2ban-client get shop bantime)" = 172800 ]
	fails 192.0.2.5 3 Login $log
	expect "it bans" within 60 both 192.0.2.5 shop
	watchdog 192.0.2.4 shop
	;;
4)
	unit=bailiff-fail2ban
	at_boot 192.0.2.5 shop
	expect "fail2ban is back" debs /var/cache/fail2ban/*.deb
	unit=fail2ban
	expect "and runs" within 60 is fail2ban ActiveState active
	expect "from its own file" is fail2ban Id fail2ban.service
	expect "with the bans" within 60 listed 192.0.2.5 shop
	expect "and he is refused" within 30 refused 192.0.2.5
	expect "$(fail2ban-client version)" [ "$(readlink -f /usr/bin/fail2ban-client)" = /usr/bin/fail2ban-client ]
	expect "bailiff is purged beside it" purge bailiff
	expect "and its bans stay" held 192.0.2.5 shop
	expect "and he is refused" refused 192.0.2.5
	;;
5)
	unit=fail2ban
	expect "fail2ban runs after a boot" within 60 is fail2ban ActiveState active
	expect "with the bans" within 60 listed 192.0.2.5 shop
	echo done
	;;
esac
systemctl poweroff

# Clocks that are set during a ban and between failures, and a machine that comes up again
# with another time.
. /vm/lib.sh
log=/var/log/app.log
bailiff=/vm/bailiff
lasts=20 # seconds, of jail app; jail long bans for an hour

explain() {
	for jail in app long; do
		$bailiff status $jail | sed -n '/banned/,$p'
		nft list set inet f2b-table addr-set-$jail | grep elements
	done
	tail -n 12 /var/log/bailiff.log
}
listed() { $bailiff status "$2" | grep -qw "$1"; }
both() { held "$1" "$2" && listed "$1" "$2"; }
neither() { ! held "$1" "$2" && ! listed "$1" "$2"; }

start() {
	mkdir -p /etc/bailiff/filters /var/lib/bailiff
	cat >/etc/bailiff/bailiff.toml <<-END
		logtarget = "/var/log/bailiff.log"
		[jail.app]
		enabled = true
		logpath = "$log"
		maxretry = 5
		findtime = "10m"
		bantime = "${lasts}s"
		[jail.long]
		enabled = true
		logpath = "$log"
		maxretry = 3
		findtime = "10m"
		bantime = "1h"
	END
	echo "failregex = '^ Login failure <ADDR>\$'" >/etc/bailiff/filters/app.toml
	echo "failregex = '^ Sudo failure <ADDR>\$'" >/etc/bailiff/filters/long.toml
	touch $log
	systemd-run -q --unit bailiff $bailiff run
	within 60 $bailiff status app >/dev/null || { not "the daemon starts"; }
}

network
start
echo "# phase $phase: $(date '+%F %T'), kernel $(uname -r)"
case $phase in
1)
	# Linux 6.1 gives an element that is there no other time, and tells no set's size.
	for t in TestGuardListed TestGuardUntilLast TestGuardModel TestGuardVerdicts TestGuardAfterKill; do
		if (cd /tmp && GUARD_RUNS=3 /vm/firewall.test -test.run "^$t\$" >/tmp/test.log 2>&1); then ok "$t on this kernel"; else not "$t"; grep -v '^	*[a-z]* *[{}]' /tmp/test.log | cut -c 1-300 | head -n 60; fi
	done
	expect "who is not banned gets through" within 30 gets_through 192.0.2.1
	fails 192.0.2.1 2 Login $log
	sleep 1
	date -s '-1 day' >/dev/null
	fails 192.0.2.1 3 Login $log
	expect "clock back a day between failures: banned at the fifth" within 30 both 192.0.2.1 app
	expect "and refused" refused 192.0.2.1

	fails 192.0.2.2 5 Login $log
	expect "banned" within 30 both 192.0.2.2 app
	banned=$(up)
	date -s '-1 day' >/dev/null
	sleep 3
	expect "clock back a day during a ban: list and kernel hold it" within 10 both 192.0.2.2 app
	expect "it ends in list and kernel" within $((lasts + 40)) neither 192.0.2.2 app
	took=$(($(up) - banned))
	if [ $took -ge $((lasts - 2)) ]; then ok "after bantime ($took s, wanted $lasts)"; else not "after bantime ($took s, wanted $lasts)"; fi
	fails 192.0.2.2 5 Login $log
	expect "and he can be banned again" within 30 both 192.0.2.2 app

	fails 192.0.2.3 5 Login $log
	expect "banned" within 30 both 192.0.2.3 app
	banned=$(up)
	date -s '+2 days' >/dev/null
	sleep 3
	expect "clock ahead two days during a ban: list and kernel hold it" within 10 both 192.0.2.3 app
	expect "and he is refused" refused 192.0.2.3
	expect "it ends in list and kernel" within $((lasts + 40)) neither 192.0.2.3 app
	took=$(($(up) - banned))
	if [ $took -ge $((lasts - 2)) ]; then ok "after bantime ($took s, wanted $lasts)"; else not "after bantime ($took s, wanted $lasts)"; fi
	fails 192.0.2.4 1 Login $log
	sleep 1
	date -s '+1 day' >/dev/null
	fails 192.0.2.4 4 Login $log
	expect "clock ahead a day between failures: banned at the fifth" within 30 both 192.0.2.4 app

	fails 192.0.2.5 3 Sudo $log
	expect "banned for an hour" within 30 both 192.0.2.5 long
	expect "prolonged by hand" $bailiff ban long 192.0.2.5
	;;
2)
	expect "after a boot a day earlier: the ban is in list and kernel" within 30 both 192.0.2.5 long
	expect "and he is refused" refused 192.0.2.5
	left=$($bailiff status --json long | tr ',' '\n' | grep -m1 '"end"' | cut -d'"' -f4)
	left=$(($(date -d "$left" +%s) - $(date +%s)))
	if [ $left -gt 0 ] && [ $left -le 3600 ]; then ok "for no longer than bantime ($left s)"; else not "for no longer than bantime ($left s)"; fi
	;;
3)
	within 10 neither 192.0.2.5 long
	expect "after a boot two days later: the ban is over in list and kernel" neither 192.0.2.5 long
	expect "and he gets through" within 30 gets_through 192.0.2.5
	echo done
	;;
esac
systemctl stop bailiff
systemctl poweroff

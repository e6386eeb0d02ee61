# What scripts/try-packages does within a fresh Debian.
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
ok() { echo " ok  $*"; }
die() {
	echo "FAILED: $*"
	exit 1
}
arch=$(dpkg --print-architecture)
old=$(ls /packages/old/bailiff_*_"$arch".deb) new=$(ls /packages/new/bailiff_*_"$arch".deb)

apt-get install -y --no-install-recommends "$old" || die "apt install $old"
was=$(bailiff version)
dpkg -L bailiff | while read -r f; do [ -e "$f" ] || die "$f is not there"; done
getent passwd bailiff >/dev/null || die "no user bailiff"
ok "installed: $was, $(dpkg -L bailiff | wc -l) files and directories"
# No systemd is at work, as where an image is made: it is for the first boot.
[ "$(systemctl is-enabled bailiff)" = enabled ] || die "the service is $(systemctl is-enabled bailiff)"
apt-get remove -y bailiff && apt-get install -y --no-install-recommends "$old" || die "removed and installed again"
bailiff check || die "bailiff check"
man bailiff | grep -q 'Watch logs' || die "man bailiff"
man 5 bailiff.toml | grep -q 'bantime.increment' || die "man 5 bailiff.toml"
ok "manual pages are found"

# The daemon as the unit starts it, without systemd.
cat >>/etc/bailiff/bailiff.toml <<'CONF'
[jail.django-auth]
enabled = true
maxretry = 3
logpath = "/var/log/app/auth.log"
CONF
install -d -m 0700 /var/log/app
install -m 0600 /dev/null /var/log/app/auth.log # root's alone
start() {
	install -d -o bailiff -g bailiff /run/bailiff
	cmd=$(sed -n 's/^ExecStart=//p' /usr/lib/systemd/system/bailiff.service)
	STATE_DIRECTORY=/var/lib/bailiff setpriv --reuid=bailiff --regid=bailiff --clear-groups --no-new-privs \
		--inh-caps=-all,+net_admin,+dac_read_search --ambient-caps=-all,+net_admin,+dac_read_search --bounding-set=-all,+net_admin,+dac_read_search \
		$cmd >/tmp/daemon.log 2>&1 &
	pid=$!
	for _ in $(seq 300); do
		bailiff status >/dev/null 2>&1 && return
		sleep 0.1
	done
	cat /tmp/daemon.log
	die "the daemon does not answer"
}
stop() {
	bailiff stop
	wait $pid || :
}
start
grep -q '^Uid:.*[1-9]' /proc/$pid/status || die "it is root"
[ "$(sed -n 's/^CapEff:\t*//p' /proc/$pid/status)" = 0000000000001004 ] || die "capabilities: $(grep Cap /proc/$pid/status)"
ok "runs as $(ps -o user= -p $pid) with CAP_NET_ADMIN and CAP_DAC_READ_SEARCH alone"
for _ in 1 2 3; do echo "$(date '+%Y-%m-%d %H:%M:%S') Login failure 192.0.2.66" >>/var/log/app/auth.log; done
banned() { nft list table inet f2b-table 2>/dev/null | grep -q "$1"; }
for _ in $(seq 300); do banned 192.0.2.66 && break; sleep 0.1; done
banned 192.0.2.66 || { cat /tmp/daemon.log; die "192.0.2.66 is not banned"; }
ok "a failed login in a log of root's (0600) was banned"
grep -q 'complete.*bailiff' /usr/share/bash-completion/completions/bailiff || die "no completion"
[ "$(bailiff __complete status '' 2>/dev/null | head -1)" = django-auth ] || die "jails are not completed: $(bailiff __complete status '' 2>&1)"
bash -c '. /usr/share/bash-completion/bash_completion && . /usr/share/bash-completion/completions/bailiff
	COMP_WORDS=(bailiff status dj) COMP_CWORD=2 COMP_LINE="bailiff status dj" COMP_POINT=17 && __start_bailiff && [ "${COMPREPLY[0]% }" = django-auth ]' || die "bash completes no jail"
ok "bash completes the names of jails"

stop
banned 192.0.2.66 || die "the ban is gone with the daemon"
apt-get install -y --no-install-recommends "$new" || die "apt install $new"
[ "$(bailiff version)" != "$was" ] || die "it is $was still"
grep -q 'django-auth' /etc/bailiff/bailiff.toml || die "the configuration is gone"
start
bailiff status django-auth | grep -q '192.0.2.66' || die "the ban is gone with the upgrade"
ok "upgraded from $was to $(bailiff version): configuration and bans are there"
stop

# The hub of a fleet, as its unit starts it: made, at work, upgraded; removed, its keys stay.
state=/var/lib/bailiff-hub
apt-get install -y --no-install-recommends "$(ls /packages/old/bailiff-hub_*_"$arch".deb)" || die "apt install bailiff-hub"
[ "$(stat -c '%a %U:%G' $state)" = "700 bailiff:bailiff" ] || die "$state: $(stat -c '%a %U:%G' $state)"
man bailiff-hub-run | grep -q 'Run the hub' && man bailiff-fleet-token | grep -q 'token' || die "man bailiff-hub-run, bailiff-fleet-token"
[ "$(bailiff __complete hub re 2>/dev/null | cut -f 1 | head -2 | xargs)" = "reload renew" ] || die "hub's commands are not completed: $(bailiff __complete hub re 2>&1)"
runuser -u bailiff -- bailiff hub init $state --san 127.0.0.1 || die "bailiff hub init"
as_unit() {
	setpriv --reuid=bailiff --regid=bailiff --clear-groups --no-new-privs --inh-caps=-all --ambient-caps=-all --bounding-set=-all \
		$(sed -n "s/^$1=//p" /usr/lib/systemd/system/bailiff-hub.service)
}
start_hub() {
	(umask 077 && as_unit ExecStart) >/tmp/hub.log 2>&1 &
	hub=$!
	for _ in $(seq 600); do
		bailiff fleet hosts >/tmp/hosts 2>&1 && return
		sleep 0.1
	done
	cat /tmp/hub.log /tmp/hosts
	die "the hub does not answer"
}
stop_hub() {
	pkill -TERM -x bailiff-hub
	wait $hub || :
}
start_hub
bailiff fleet token >/tmp/token || die "bailiff fleet token"
stop_hub
keys=$(cd $state && find . -name '*.nk' -o -name '*.key' -o -name '*.pem' | sort | xargs sha256sum)
[ -n "$keys" ] || die "no keys: $(ls -la $state)"
apt-get install -y --no-install-recommends "$(ls /packages/new/bailiff-hub_*_"$arch".deb)" || die "apt install bailiff-hub, the new one"
start_hub
as_unit ExecReload || die "the unit's ExecReload"
bailiff fleet join --name here --group ssh=sshd - </tmp/token || die "bailiff fleet join"
bailiff fleet hosts | grep -q '^here ' || die "the host is not in the fleet: $(bailiff fleet hosts)"
stop_hub
[ "$(cd $state && find . -name '*.nk' -o -name '*.key' -o -name '*.pem' | sort | xargs sha256sum)" = "$keys" ] || die "other keys after the upgrade"
apt-get remove -y bailiff-hub || die "apt remove bailiff-hub"
[ -e $state/hub.toml ] && [ ! -e /usr/sbin/bailiff-hub ] || die "a removal leaves the program, or takes the keys"
apt-get install -y --no-install-recommends "$(ls /packages/new/bailiff-hub_*_"$arch".deb)" || die "apt install bailiff-hub, again"
ok "bailiff-hub: a hub was made, upgraded, joined; a removal leaves its keys"

(cd /usr/lib/systemd/system && systemd-analyze verify ./bailiff.service ./bailiff-runner.socket ./bailiff-runner.service ./bailiff-hub.service) >/tmp/verify 2>&1 || { cat /tmp/verify; die "systemd-analyze verify"; }
[ ! -s /tmp/verify ] || { cat /tmp/verify; die "systemd-analyze verify"; }
systemd-analyze security --offline=true --no-pager --threshold=20 /usr/lib/systemd/system/bailiff.service >/tmp/security 2>&1 || { cat /tmp/security; die "systemd-analyze security"; }
systemd-analyze security --offline=true --no-pager --threshold=20 /usr/lib/systemd/system/bailiff-hub.service >/tmp/hubsecurity 2>&1 || { cat /tmp/hubsecurity; die "systemd-analyze security bailiff-hub"; }
ok "systemd $(systemctl --version | sed -n '1s/.*(\(.*\))/\1/p') verifies the units; $(sed -n 's/.*Overall exposure level for //p' /tmp/security)"

# In fail2ban's place: its configuration stays, and so do the bans, there and back.
fail2ban=$(ls /packages/new/bailiff-fail2ban_*_"$arch".deb)
apt-get install -y --no-install-recommends fail2ban || die "apt install fail2ban"
: >/var/log/app/shop.log
cat >/etc/fail2ban/jail.d/shop.local <<'CONF'
[DEFAULT]
banaction = nftables[type=multiport]
[sshd]
enabled = false
[shop]
enabled = true
backend = polling
filter =
failregex = ^ Login failure <HOST>$
logpath = /var/log/app/shop.log
maxretry = 2
bantime = 1d
CONF
apt-get install -y --no-install-recommends "$fail2ban" || die "apt install $fail2ban"
[ -e /etc/fail2ban/jail.d/shop.local ] && [ -e /etc/fail2ban/jail.conf ] || die "fail2ban's configuration is gone"
[ "$(readlink -f /usr/bin/fail2ban-client)" = /usr/sbin/bailiff ] || die "fail2ban-client is $(readlink -f /usr/bin/fail2ban-client)"
server() {
	install -d /run/fail2ban
	$(sed -n "s/^ExecStart=//p" "$1" | sed 's/^-//') >/tmp/server.log 2>&1 &
	server=$!
	for _ in $(seq 300); do
		fail2ban-client status shop >/dev/null 2>&1 && return
		sleep 0.1
	done
	cat /tmp/server.log /var/log/fail2ban.log
	die "$1: the server does not answer"
}
has() { fail2ban-client status shop | grep -q "$1"; }
server /usr/lib/systemd/system/bailiff-fail2ban.service
for _ in 1 2; do echo "$(date '+%Y-%m-%d %H:%M:%S') Login failure 203.0.113.9" >>/var/log/app/shop.log; done
for _ in $(seq 300); do has 203.0.113.9 && break; sleep 0.1; done
has 203.0.113.9 || { cat /tmp/server.log; die "203.0.113.9 is not banned"; }
pgrep -x fail2ban-server >/dev/null || die "pgrep finds no fail2ban-server"
fail2ban-client stop >/dev/null
wait $server || :
ok "bailiff-fail2ban took fail2ban's place, with its configuration, and banned"
apt-get install -y --no-install-recommends fail2ban || die "apt install fail2ban, back"
! dpkg -s bailiff-fail2ban 2>/dev/null | grep -q '^Status: install ok' || die "bailiff-fail2ban is there still"
server /usr/lib/systemd/system/fail2ban.service
for _ in $(seq 300); do has 203.0.113.9 && break; sleep 0.1; done
has 203.0.113.9 || { cat /var/log/fail2ban.log; die "back with fail2ban, the ban is gone"; }
ok "fail2ban is back, with the bans: $(fail2ban-client version)"
apt-get remove -y bailiff || die "apt remove"
banned 203.0.113.9 || die "fail2ban's ban is gone with bailiff"
fail2ban-client stop >/dev/null
wait $server || :

# fail2ban leaves its table; with nobody at work in it, it goes with bailiff.
apt-get install -y --no-install-recommends "$new" || die "apt install $new, again"
[ -n "$(nft list tables)" ] || nft add table inet f2b-table
apt-get remove -y bailiff-hub || die "apt remove bailiff-hub, again"
apt-get purge -y bailiff || die "apt purge"
getent passwd bailiff >/dev/null || die "the user is gone, to whom $state belongs"
apt-get purge -y bailiff-hub || die "apt purge bailiff-hub"
for f in /usr/sbin/bailiff /usr/sbin/bailiff-hub /etc/bailiff /var/lib/bailiff $state /var/log/bailiff /run/bailiff /etc/logrotate.d/bailiff; do
	[ ! -e "$f" ] || die "a purge leaves $f: $(ls -la "$f")"
done
! getent passwd bailiff >/dev/null || die "a purge leaves the user"
[ -z "$(nft list tables)" ] || die "a purge leaves $(nft list tables)"
ok "purged: no file, no user, no table"

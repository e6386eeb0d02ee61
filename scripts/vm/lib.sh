# What the parts of make vm share within the machine: phases, one a boot, and what is
# expected. Time that has really passed is /proc/uptime's.
phases=/var/lib/vm-phase
phase=$(($(cat $phases 2>/dev/null || echo 0) + 1))
echo $phase >$phases

ok() { echo "ok $*"; }
not() {
	echo "not ok $*"
	explain
}
up() { cut -d. -f1 /proc/uptime; }
# within N COMMAND: waits until it succeeds, at most N seconds that really pass, where the machine is
# quiet: on a busy one a virtual machine has a tenth of it.
within() {
	_end=$(($(up) + 10 * $1)); shift
	until "$@"; do [ "$(up)" -lt "$_end" ] || return 1; sleep 0.3; done
}
expect() { _what=$1; shift; if "$@"; then ok "$_what"; else not "$_what"; fi; }
# failures FROM LINES WORD LOG
fails() { for _ in $(seq "$2"); do echo "$(date '+%F %T') $3 failure $1" >>"$4"; sleep 0.1; done; }
held() { nft get element inet f2b-table "addr-set-$2" "{ $1 }" >/dev/null 2>&1; }
gets_through() {
	ip -n attacker route replace 192.0.2.254/32 dev out src "$1"
	ip netns exec attacker timeout 3 bash -c '</dev/tcp/192.0.2.254/80' 2>/dev/null
}
refused() { ! gets_through "$1"; }

network() {
	ip netns add attacker
	ip link add host type veth peer name out netns attacker
	ip addr add 192.0.2.254/24 dev host
	ip link set host up
	ip -n attacker link set lo up
	ip -n attacker link set out up
	for n in $(seq 9); do ip -n attacker addr add 192.0.2.$n/24 dev out; done
	busybox httpd -p 80 -h /tmp
}

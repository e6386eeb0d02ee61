package doctor_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/firewall"
)

// kernelSetups are those that need networks, mounts, users or processes of their own.
var kernelSetups = []setup{
	{
		symptom: "log-permission", level: broken, cause: "can't be read by user 65534", remedy: "usermod", inside: true, as: 65534,
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": attacks(10, 3)},
		build: func(t *testing.T, dir string) { must(t, os.Chmod(dir+"/auth.log", 0)) },
	},
	{
		symptom: "log-in-container", level: broken, cause: "in the container of", remedy: "docker run -v",
		files: map[string]string{"bailiff.toml": sshJail, "from/auth.log": attacks(10, 3)},
		build: func(t *testing.T, dir string) {
			cmd := exec.Command("unshare", "-m", "sh", "-c", "mount --bind from . && cd "+dir+" && echo in && read x")
			cmd.Dir = dir
			in, err := cmd.StdinPipe()
			must(t, err)
			out, err := cmd.StdoutPipe()
			must(t, err, cmd.Start())
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "in\n" {
				t.Fatal(line, err)
			}
			t.Cleanup(func() {
				in.Close()
				_ = cmd.Wait()
			})
		},
	},
	{
		symptom: "ban-unhooked", level: broken, cause: "has no hook", remedy: "start", inside: true,
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": attacks(40, 6)},
		build: func(t *testing.T, _ string) {
			run(t, "nft 'add table inet f2b-table'; nft 'add set inet f2b-table addr-set-sshd { type ipv4_addr; flags timeout; }'; nft 'add chain inet f2b-table f2b-chain'; nft 'add rule inet f2b-table f2b-chain tcp dport 22 ip saddr @addr-set-sshd reject'")
		},
	},
	{
		symptom: "ban-emptied", level: broken, cause: "has no rule of any jail", remedy: "start", inside: true,
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": attacks(40, 6)},
		build: func(t *testing.T, _ string) {
			open(t, "sshd")
			run(t, "nft flush chain inet f2b-table f2b-chain")
		},
	},
	{
		symptom: "ban-jumped-over", level: broken, cause: "lets packets pass", remedy: "take that rule out", inside: true,
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": attacks(40, 6)},
		build: func(t *testing.T, _ string) {
			open(t, "sshd")
			run(t, "nft insert rule inet f2b-table f2b-chain tcp dport 22 accept")
		},
	},
	{
		symptom: "ban-dormant", level: broken, cause: "dormant", remedy: "start", inside: true,
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": attacks(40, 6)},
		build: func(t *testing.T, _ string) {
			open(t, "sshd")
			run(t, "nft 'add table inet f2b-table { flags dormant; }'")
		},
	},
	{
		symptom: "ban-no-rule", level: broken, cause: "it has no ", remedy: "start", inside: true,
		files: map[string]string{"bailiff.toml": sshJail + "[jail.django-auth]\nenabled = true\nlogpath = '@/app.log'\n", "auth.log": attacks(40, 6), "app.log": ""},
		build: func(t *testing.T, _ string) { open(t, "django-auth") },
	},
	{
		symptom: "ban-unhooked", level: broken, cause: "no rule of INPUT leads to chain f2b-sshd", remedy: "start", inside: true,
		files: iptablesTree(),
		build: func(t *testing.T, _ string) {
			run(t, "iptables -N f2b-sshd; iptables -A f2b-sshd -s 203.0.113.7 -j REJECT")
		},
	},
	{
		symptom: "ban-accepted-before", level: broken, cause: "accepts its packets", remedy: "behind it", inside: true,
		files: iptablesTree(),
		build: func(t *testing.T, _ string) {
			run(t, "iptables -N f2b-sshd; iptables -A INPUT -i lo -j ACCEPT; iptables -A INPUT -p tcp --dport 80 -j ACCEPT; iptables -A INPUT -p tcp --dport 22 -j ACCEPT; iptables -A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd")
		},
	},
	{
		symptom: "ban-accepted-before", level: broken, cause: "accepts its packets", remedy: "behind it", inside: true,
		files: iptablesTree(),
		build: func(t *testing.T, _ string) {
			run(t, "iptables -N f2b-sshd; iptables -N own-input; iptables -A own-input -m conntrack --ctstate NEW -j ACCEPT; iptables -A INPUT -j own-input; iptables -A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd")
		},
	},
	{
		symptom: "ban-ipv6", level: broken, cause: "of IPv6 addresses", remedy: "start", inside: true,
		files: with(iptablesTree(), map[string]string{"auth.log": lines(40, func(i int, at time.Time) string {
			return guess(at, fmt.Sprintf("2001:db8::%d", 10+i%6), i)
		})}),
		build: func(t *testing.T, _ string) {
			run(t, "iptables -N f2b-sshd; iptables -A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd")
		},
	},
	{
		symptom: "ban-ports", level: broken, cause: "sshd listens at port 2222", remedy: `port = "22,2222"`, inside: true,
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": attacks(40, 6)},
		build: func(t *testing.T, _ string) { listen(t, "sshd", ":2222") },
	},
	{
		symptom: "ban-ports", level: doubtful, cause: "nothing listens at the ports", remedy: "port = ", inside: true,
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": attacks(40, 6)},
		build: func(t *testing.T, _ string) { listen(t, "something", "[::]:2022") },
	},
	{
		symptom: "ban-published", level: broken, cause: "port 8080", remedy: `hook = "prerouting"`, inside: true,
		files: map[string]string{"bailiff.toml": "[firewall]\nhook = 'input'\n" + sshJail, "auth.log": attacks(40, 6)},
		build: func(t *testing.T, _ string) {
			run(t, "nft 'add table ip docker'; nft 'add chain ip docker pre { type nat hook prerouting priority -100; }'; nft add rule ip docker pre tcp dport 8080 dnat to 198.51.100.2:80")
		},
	},
	{ // the same where iptables bans
		symptom: "ban-published", level: broken, cause: "port 22", remedy: "chain = DOCKER-USER", inside: true,
		files: iptablesTree(),
		build: func(t *testing.T, _ string) {
			run(t, "iptables -t nat -A PREROUTING -p tcp --dport 22 -j DNAT --to-destination 198.51.100.2:22")
		},
	},
	{
		symptom: "ban-observe", level: doubtful, cause: "only observes", remedy: "take observe out",
		files: map[string]string{"bailiff.toml": sshJail + "observe = true\n", "auth.log": attacks(40, 6)},
	},
	{
		symptom: "ban-nobody", level: broken, cause: "no firewall", remedy: "enabled = true",
		files: map[string]string{"bailiff.toml": "[firewall]\nenabled = false\n" + sshJail, "auth.log": attacks(40, 6)},
	},
	{
		symptom: "ban-action", level: broken, cause: "no-such-tool isn't there", remedy: "install it",
		files: with(tree("[sshd]\nenabled = true\nlogpath = @/auth.log\n"), map[string]string{
			"auth.log": attacks(40, 6), "action.d/note.conf": "[Definition]\nactionban = printf %%b 'it; is' | no-such-tool add <ip>\n",
		}),
	},
	{
		symptom: "ban-database", level: broken, cause: "is not there", remedy: "mkdir",
		files: map[string]string{"bailiff.toml": "[database]\npath = '@/nowhere/x.sqlite3'\n" + sshJail, "auth.log": attacks(40, 6)},
	},
	{
		symptom: "ban-database", level: broken, cause: "is no database", remedy: "copy",
		files: map[string]string{"bailiff.toml": "[database]\npath = '@/x.sqlite3'\n" + sshJail, "auth.log": attacks(40, 6), "x.sqlite3": "what is this"},
	},
	{
		symptom: "clock-back", level: broken, cause: "clock is behind", remedy: "timedatectl",
		files: map[string]string{"bailiff.toml": "[database]\npath = '@/x.sqlite3'\n" + sshJail, "auth.log": attacks(40, 6), "x.sqlite3": ""},
		build: func(t *testing.T, dir string) { age(t, dir+"/x.sqlite3", -24*time.Hour) },
	},
}

// iptablesTree is a configuration whose jail bans by Debian's action of iptables.
func iptablesTree() map[string]string {
	out := with(tree("[sshd]\nenabled = true\nport = 22\nlogpath = @/auth.log\naction = iptables-multiport[name=sshd, port=\"22\", protocol=tcp, chain=INPUT]\n"), map[string]string{"auth.log": attacks(40, 6)})
	for _, name := range []string{"iptables.conf", "iptables-multiport.conf"} {
		text, err := os.ReadFile("/etc/fail2ban/action.d/" + name)
		if err != nil {
			continue // make test installs Debian's fail2ban; without it, the jail has no action, and the test fails
		}
		out["action.d/"+name] = string(text)
	}
	return out
}

// run runs a script.
func run(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// open makes the table of nftables as a daemon does, for jails of ssh's port.
func open(t *testing.T, jails ...string) {
	t.Helper()
	var rules []firewall.Rule
	for _, j := range jails {
		rules = append(rules, firewall.Rule{Jail: j, Ports: []firewall.PortRange{{First: 22, Last: 22}}, Protocols: []string{"tcp"}, Prefix6: 64})
	}
	f, _, err := firewall.Open(firewall.Options{Hooks: []firewall.Hook{{Name: "prerouting", Priority: -150}}}, rules...)
	must(t, err)
	f.Close()
}

// listenVariable has this program be one that listens there.
const listenVariable = "DOCTOR_TEST_LISTEN"

// listen has a program of a name listen.
func listen(t *testing.T, name, at string) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	path := filepath.Join(t.TempDir(), name)
	must(t, os.Symlink(self, path))
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), listenVariable+"="+at, "GOMAXPROCS=1")
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err, cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); !strings.HasPrefix(line, "listening") {
		t.Fatal(line, err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
}

func init() {
	at := os.Getenv(listenVariable)
	if at == "" {
		return
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening")
	_, _ = os.Stdin.Read(make([]byte, 1))
	l.Close()
	os.Exit(0)
}

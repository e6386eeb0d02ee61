package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var syslogs = flag.String("syslogs", "", "where scripts/syslogs has unpacked rsyslog and syslog-ng: TestRealSenders runs with them")

// TestRealSenders: Debian's rsyslog and syslog-ng hand on a message in each of their forms, over
// UDP, TCP and TLS. It needs scripts/syslogs:
//
//	go test ./cmd/bailiff -run TestRealSenders -syslogs $(scripts/syslogs tmp/syslogs)
func TestRealSenders(t *testing.T) {
	if *syslogs == "" {
		t.Skip("it wants -syslogs $(scripts/syslogs tmp/syslogs)")
	}
	root := filepath.Join(*syslogs, "root")
	n := newNetwork(t)
	n.patience = time.Minute
	sh := func(script string) {
		t.Helper()
		c := exec.Command("sh", "-euc", script)
		c.Dir = n.dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	sh(`openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca
for name in logs sender; do
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $name.key -out $name.csr -subj /CN=$name.example.org
	printf 'subjectAltName=DNS:%s.example.org,IP:192.0.2.1\n' $name >$name.ext
	openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $name.ext -out $name.pem
done`)
	n.start(fmt.Sprintf(`
[syslog]
cert = "%[1]s/logs.pem"
key = "%[1]s/logs.key"
ca = "%[1]s/ca.pem"
[jail.sshd]
enabled = true
backend = "syslog"
listen = ["udp://192.0.2.1:514", "tcp://192.0.2.1:514", "tls://192.0.2.1:6514"]
allow = "192.0.2.66"
match = "program=sshd"
maxretry = 1000
`, n.dir))
	write := func(name, text string) string {
		t.Helper()
		if err := os.WriteFile(n.path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return n.path(name)
	}
	// As docs/syslog.md has it for TLS, with both drivers that rsyslog has for it.
	block := regexp.MustCompile(`(?s)\nglobal\(DefaultNetstreamDriver="gtls"\n.*?\n\x60\x60\x60`).FindString(readFile(t, "../../docs/syslog.md"))
	tls := strings.NewReplacer("/etc/ssl/logs/", n.dir+"/", "host.pem", "sender.pem", "host.key", "sender.key", "```", "").Replace(block)
	at := strings.Index(tls, "auth,authpriv")
	if at < 0 {
		t.Fatalf("docs/syslog.md has no block for TLS:\n%s", block)
	}
	rsyslog := write("rsyslog.conf", tls+strings.Replace(tls[at:], `StreamDriver="gtls"`, `StreamDriver="ossl"`, 1)+`
module(load="imtcp")
input(type="imtcp" port="15601" address="192.0.2.66")
action(type="omfwd" target="192.0.2.1" port="514" protocol="udp" template="RSYSLOG_TraditionalForwardFormat")
action(type="omfwd" target="192.0.2.1" port="514" protocol="udp" template="RSYSLOG_ForwardFormat")
action(type="omfwd" target="192.0.2.1" port="514" protocol="tcp" TCP_Framing="traditional" template="RSYSLOG_TraditionalForwardFormat")
action(type="omfwd" target="192.0.2.1" port="514" protocol="tcp" TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format")
`)
	ng := write("syslog-ng.conf", fmt.Sprintf(`
@version: 3.38
source s { network(ip("192.0.2.66") port(15602) transport("tcp")); };
destination d1 { syslog("192.0.2.1" transport("udp") port(514) persist-name("d1")); };
destination d2 { syslog("192.0.2.1" transport("tcp") port(514) persist-name("d2")); };
destination d3 { syslog("192.0.2.1" transport("tls") port(6514) persist-name("d3") tls(ca-file("%[1]s/ca.pem") cert-file("%[1]s/sender.pem") key-file("%[1]s/sender.key") peer-verify(required-trusted))); };
destination d4 { network("192.0.2.1" transport("tcp") port(514) persist-name("d4")); };
log { source(s); destination(d1); destination(d2); destination(d3); destination(d4); };
`, n.dir))
	libs := "LD_LIBRARY_PATH=" + strings.Join([]string{root + "/usr/lib/x86_64-linux-gnu", root + "/lib/x86_64-linux-gnu", root + "/usr/lib/syslog-ng"}, ":")
	for i, args := range [][]string{
		{root + "/usr/sbin/rsyslogd", "-n", "-M", root + "/usr/lib/x86_64-linux-gnu/rsyslog", "-f", rsyslog, "-i", n.path("rsyslog.pid")},
		{
			root + "/usr/sbin/syslog-ng", "-F", "--no-caps", "--module-path=" + root + "/usr/lib/syslog-ng/3.38", "-f", ng,
			"-p", n.path("ng.pid"), "-R", n.path("ng.persist"), "-c", n.path("ng.ctl"),
		},
	} {
		c := n.attacker.Command(context.Background(), args[0], args[1:]...)
		c.Env = append(os.Environ(), libs)
		out, err := os.Create(n.path(fmt.Sprintf("sender%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		c.Stdout, c.Stderr = out, out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
		to := fmt.Sprintf("192.0.2.66:%d", 15601+i)
		n.until("it listens at "+to, func() bool {
			conn, err := n.attacker.Dial("192.0.2.66", to, time.Second)
			if err != nil {
				return false
			}
			defer conn.Close()
			_, err = fmt.Fprintf(conn, "<38>Jan 31 12:00:00 web sshd[41]: Failed password for root from 203.0.113.%d port 41 ssh2\n", 1+i)
			return err == nil
		})
		ways := 6 - 2*i
		n.until(fmt.Sprintf("%s has sent it in %d ways", args[0], ways), func() bool {
			return strings.Count(n.log(), fmt.Sprintf("Found 203.0.113.%d ", 1+i)) == ways
		})
	}
}

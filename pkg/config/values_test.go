package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestPorts(t *testing.T) {
	for text, want := range map[string]string{
		"80": "[{80 80}]", "ssh": "[{22 22}]", "1000:2000": "[{1000 2000}]", "1000-2000": "[{1000 2000}]",
		"http-alt:9000": "[{8080 9000}]", "http-alt-9000": "[{8080 9000}]", "http:http-alt": "[{80 8080}]", "80-http-alt": "[{80 8080}]", "http-alt": "[{8080 8080}]",
		"http,https 8000:8100": "[{80 80} {443 443} {8000 8100}]", "0:65535": "[]", "80,all": "[]",
	} {
		if got, err := ParsePorts([]string{text}); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q: %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"0", "65536", "9000:http-alt", "http-alt:", ":80", "-80", "80:", "80:90:100", "htpp", "1-2-3", "+80", "8_0", " : "} {
		if got, err := ParsePorts([]string{text}); err == nil {
			t.Errorf("%q is taken as %v", text, got)
		}
	}
}

// TestNumbers checks numbers as TOML and fail2ban's files write them.
func TestNumbers(t *testing.T) {
	for text, want := range map[string]string{
		"1000000.0": "277h46m40s", "1e6": "277h46m40s", "'24*3600'": "24h0m0s", "'60 * 60 * 24'": "24h0m0s", "9999999999": "2500000h0m0s", "'.5h'": "30m0s",
	} {
		j := jail(t, loadText(t, bansJail+"bantime = "+text+"\n"), "x")
		if j.Broken() != nil || j.BanTime.String() != want {
			t.Errorf("%s: %v, %v; want %s", text, j.BanTime, j.Broken(), want)
		}
	}
}

// TestPortlessProtocol checks that a jail of fail2ban's may name icmp beside ports: all of
// icmp is shut out, and that is told.
func TestPortlessProtocol(t *testing.T) {
	action, err := os.ReadFile("/etc/fail2ban/action.d/nftables.conf")
	if err != nil {
		t.Fatalf("%v: this test needs Debian's package fail2ban (make test installs it)", err)
	}
	dir := directory(
		t, "action.d/nftables.conf", string(action), "filter.d/f.conf", "[Definition]\nfailregex = ^f <HOST>\n",
		"jail.conf", "[x]\nenabled = true\nfilter = f\nlogpath = /x.log\nprotocol = tcp,icmp\naction = nftables[type=multiport, port=\"http,8000:8100\", protocol=\"%(protocol)s\"]\n",
	)
	j := jail(t, load(t, Options{Path: dir}), "x")
	if j.Broken() != nil || j.Unenforced || fmt.Sprint(j.Rule.Protocols, j.Rule.Ports) != "[tcp icmp] [{80 80} {8000 8100}]" {
		t.Errorf("%v %+v", j.Broken(), j.Rule)
	}
	if got := fmt.Sprint(j.Warnings); !strings.Contains(got, "jail.conf:5: protocol icmp has no ports: all of it is shut out") {
		t.Error(got)
	}
}

// TestNames checks that a jail has no name that nft can't load back, where it has sets.
func TestNames(t *testing.T) {
	for name, good := range map[string]bool{"sshd": true, "a.b_c-d": true, "9": true, strings.Repeat("a", 64): true, "my:jail": false, "a b": false, "-a": false, "ä": false, strings.Repeat("a", 65): false} {
		text := strings.Replace(bansJail, "[jail.x]", fmt.Sprintf("[jail.%q]", name), 1)
		j := jail(t, loadText(t, text), name)
		if (j.Broken() == nil) != good || !good && !strings.Contains(j.Broken().Error(), "bailiff.toml:2: jail name ") {
			t.Errorf("%q: %v", name, j.Broken())
		}
	}
	if j := jail(t, loadText(t, "[firewall]\nenabled = false\n"+strings.Replace(bansJail, "jail.x", "jail.'my:jail'", 1)), "my:jail"); j.Broken() != nil {
		t.Errorf("without sets: %v", j.Broken())
	}
}

// TestSilentMistakes: what fail2ban does without a word, and nobody means, is warned of.
func TestSilentMistakes(t *testing.T) {
	dir := directory(
		t, "filter.d/f.conf", "[Definition]\nfailregex = ^f <HOST>\n", "action.d/q.conf", "[Definition]\nactionban = x '<matches>'\nactionunban = y \"<F-USER>\" '<ip>'\n",
		"jail.conf", "[DEFAULT]\nbackend = systemd\n[x]\nenable = yes\nenabled = true\nfilter = f\nlogpath = /x.log\naction = q\n",
	)
	cfg := load(t, Options{Path: dir})
	j := jail(t, cfg, "x")
	if j.Broken() != nil {
		t.Fatal(j.Broken())
	}
	got := fmt.Sprint(cfg.Warnings, j.Warnings)
	for _, want := range []string{
		"jail.conf:4: [x] enable: no such option: did you mean enabled?",
		"jail.conf:7: logpath is not read: backend = systemd reads the journal",
		"q.conf:2: action q: actionban: <matches> stands in single quotes",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %s", want, got)
		}
	}
	if strings.Contains(got, "F-USER") || strings.Contains(got, "<ip>") {
		t.Error(got)
	}
}

func TestLiteralTags(t *testing.T) {
	for text, want := range map[string]string{
		"a <matches>": "", "a '<matches>'": "<matches>", `a "<matches>"`: "", `a "'<matches>'"`: "", `a \'<matches>\'`: "",
		"a 'b' <matches> 'c'": "", "a 'b <F-USER> <ipmatches> <F-USER>'": "<F-USER> <ipmatches>", "a '<ip> <jailmatches>'": "", "it's <matches>": "", `a '\' <matches> '`: "",
	} {
		if got := strings.Join(literalTags(text), " "); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// TestAttemptsWithoutConnections: a filter that is to count by connection says which one a
// line is of.
func TestAttemptsWithoutConnections(t *testing.T) {
	f := ParseFilter("f", "f.toml", []byte("attempts = true\nfailregex = '^ failed from <ADDR>$'\n"))
	_, err := f.Definition("")
	if err == nil || !strings.Contains(err.Error(), "f.toml:1: attempts = true") {
		t.Errorf("%v", err)
	}
	f = ParseFilter("f", "f.toml", []byte("attempts = true\nfailregex = '^ <F-MLFID>\\d+</F-MLFID> failed from <ADDR>$'\n"))
	if def, err := f.Definition(""); err != nil || !def.Attempts {
		t.Errorf("attempts %v, %v", def.Attempts, err)
	}
}

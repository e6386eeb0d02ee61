package hub

import (
	"strings"
	"testing"
)

const least = "listen = \"127.0.0.1:4222\"\nurls = [\"tls://127.0.0.1:4222\"]\n"

// TestConfig: what is wrong is told with its line and what is wanted.
func TestConfig(t *testing.T) {
	c, err := parseConfig("hub.toml", []byte(least))
	if err != nil || c.Quota != 20_000 || c.Replicas != 1 || c.MaxBan.Hours() != 7*24 || c.Store != 1e9 {
		t.Errorf("%+v, %v", c, err)
	}
	for text, want := range map[string]string{
		"":                                              "hub.toml: listen: \"\": want ADDRESS:PORT",
		"listen = 1":                                    "hub.toml:1:",
		least + "quotas = 5\n":                          "hub.toml:3: quotas: no such setting",
		least + "quota = 0\n":                           "hub.toml:3: quota: 0: want 1 to",
		least + "rate = nan\n":                          "hub.toml:3: rate: NaN: want",
		least + "max_ban = \"1y\"x":                     "hub.toml:3:",
		least + "max_ban = \"5\"\n":                     "hub.toml:3: max_ban: \"5\": want a time",
		least + "store = \"1KB\"\n":                     "hub.toml:3: store: \"1KB\": want a size",
		least + "allow = [\"198.51.100.300\"]\n":        "hub.toml:3: allow:",
		least + "groups = [\"*\"]\n":                    "hub.toml:3: groups:",
		least + "widest_ipv4 = 4\n":                     "hub.toml:3: widest_ipv4: 4: want",
		least + "name = \"*\"\n":                        "hub.toml:3: name:",
		least + "[log]\nlevel = \"LOUD\"\n":             "hub.toml:4: log.level:",
		least + "quota = 5\n[hosts.web-1]\nquota = 0\n": "hub.toml:5: hosts.web-1.quota: 0: want 1 to",
		least + "[hosts.web-1]\nquotas = 5\n":           "hub.toml:4: hosts.web-1.quotas: no such setting",
		least + "[hosts.\"*\"]\nquota = 5\n":            "hub.toml:3: hosts.*:",
		least + "allow_key = \"ABC\"\n":                 "hub.toml:3: allow_key: \"ABC\": want the public key",
		least + "[count.ssh]\nmaxretry = 0\n":           "hub.toml:4: count.ssh.maxretry: 0: want 1 to",
		least + "[count.ssh]\nshare = 17\n":             "hub.toml:4: count.ssh.share: 17: want 1 to 16",
		least + "[count.ssh]\nfindtime = \"2d\"\n":      "hub.toml:4: count.ssh.findtime: \"2d\": want a time",
		least + "[count.ssh]\nretries = 3\n":            "hub.toml:4: count.ssh.retries: no such setting",
		least + "[count.\"*\"]\n":                       "hub.toml:3: count.*:",
		least + "[cluster]\nreplicas = 3\n":             "cluster.listen: want",
		least + "[cluster]\nlisten = \"127.0.0.1:1\"\nroutes = [\"http://x\"]\n":                   "hub.toml:5: cluster.routes:",
		least + "[cluster]\nlisten = \"127.0.0.1:1\"\nreplicas = 3\nroutes = [\"tls://a:6222\"]\n": "hub.toml:6: cluster.routes:",
		"listen = \"hub:4222\"":                                   "hub.toml:1: listen: \"hub:4222\": want an address",
		"listen = \"127.0.0.1:4222\"\nurls = [\"nats://a:4222\"]": "hub.toml:2: urls: \"nats://a:4222\": want tls://",
	} {
		if _, err := parseConfig("hub.toml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(least)
	f.Fuzz(func(_ *testing.T, text string) { _, _ = parseConfig("hub.toml", []byte(text)) })
}

func TestParseMember(t *testing.T) {
	for text, want := range map[string]Member{
		"a=hub.example":             {"a", "hub.example", 0, 0},
		"a=198.51.100.5:42":         {"a", "198.51.100.5", 42, 0},
		"a=198.51.100.5:42:43":      {"a", "198.51.100.5", 42, 43},
		"a=[2001:db8::1]":           {"a", "2001:db8::1", 0, 0},
		"a=[2001:db8::1]:4222:6222": {"a", "2001:db8::1", 4222, 6222},
	} {
		if got, err := ParseMember(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "a", "a=", "=x", "*=x", "A=x", "a=x:0", "a=x:1:2:3", "a=x:y", "a=[2001:db8::1", "a=b c", "a=x:70000"} {
		if m, err := ParseMember(text); err == nil {
			t.Errorf("%q was taken for %+v", text, m)
		}
	}
}

package config

import (
	"fmt"
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

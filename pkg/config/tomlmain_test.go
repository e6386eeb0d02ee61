package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestFirewallNames: names that nft could not read back would make a saved ruleset of the
// whole host one that can't be restored.
func TestFirewallNames(t *testing.T) {
	for text, want := range map[string]string{
		"table = 'a b'":                  `:2: table "a b": nft could not read that name back`,
		"chain = 'x;drop'":               `:2: chain "x;drop": nft could not read`,
		"table = '7x'":                   `:2: table "7x": nft could not read`,
		"chain = '-x'":                   `:2: chain "-x": nft could not read`,
		"table = \"a\\n}\"":              `nft could not read`,
		"priority = 3000000000":          ":2: priority 3000000000: want a number of 32 bits",
		"table = 'f2b-t.1/x_'":           "",
		"chain = 'INPUT'\npriority = -5": "",
	} {
		cfg := load(t, Options{Path: directory(t, "bailiff.toml", "[firewall]\n"+text+"\n")})
		if p := fmt.Sprint(cfg.Problems()); !strings.Contains(p, want) || want == "" && strings.Contains(p, "nft") {
			t.Errorf("%s: problems %s, want %q", text, p, want)
		}
	}
}

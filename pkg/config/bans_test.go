package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
)

func loadText(t *testing.T, text string) *Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bailiff.toml")
	hosttest.Write(t, path, text)
	c, err := Load(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const bansJail = "[jail.x]\nenabled = true\nlogpath = \"/x.log\"\nfailregex = \"failed <HOST>\"\n"

func TestBans(t *testing.T) {
	c := loadText(t, "[default]\n\"bantime.increment\" = true\n\"bantime.maxtime\" = \"5w\"\n"+bansJail+
		"\"bantime.factor\" = 2\n\"bantime.multipliers\" = \"1 5 30\"\n\"bantime.rndtime\" = 60\n\"bantime.overalljails\" = true\n"+
		"maxretry = 3\nban.prefix4 = 24\nban.aggregate = 10\nignoressh = true\n")
	if p := c.Problems(); len(p) > 0 {
		t.Fatal(p)
	}
	j := c.Jails[0]
	got := fmt.Sprintf("%+v %+v %d %v", *j.Increase, j.Networks, j.MaxMatches, j.Ignore.SSH)
	want := "{Factor:2 Formula: Multipliers:[1 5 30] MaxTime:840h0m0s Random:1m0s OverallJails:true} {Prefix4:24 Prefix6:64 Aggregate:10} 3 true"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	places := map[string]int{}
	for _, s := range j.Settings {
		places[s.Name+" "+s.Value] = s.Line
	}
	for setting, line := range map[string]int{"bantime.increment true": 2, "bantime.factor 2": 8, "ban.prefix4 24": 13, "ban.prefix6 64": 0, "ban.aggregate 10": 14} {
		if at, ok := places[setting]; !ok || at != line {
			t.Errorf("%s at line %d (%v), want %d", setting, at, ok, line)
		}
	}
}

func TestBanMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"ban.prefix4 = 7":    ":5: ban.prefix4 7: want 8 to 32",
		"ban.prefix6 = 129":  ":5: ban.prefix6 129: want 32 to 128",
		"ban.aggregate = 1":  ":5: ban.aggregate 1: want 2 or more",
		"ban.prefix = 1":     `:5: unknown key "jail.x.ban.prefix"`,
		"bantime.factor = 2": `"bantime.factor" = `,
		"\"bantime.increment\" = true\n\"bantime.factor\" = \"2 *\"":         `:6: bantime.factor: formula "2 *": character 4: ends too early`,
		"\"bantime.increment\" = true\n\"bantime.formula\" = \"__import__\"": `:6: bantime.formula: formula "__import__": character 1: unknown "__import__"`,
		"\"bantime.increment\" = true\n\"bantime.multipliers\" = \"1 x\"":    `:6: bantime.multipliers: "x" is no number`,
		"\"bantime.increment\" = true\n\"bantime.maxtime\" = \"soon\"":       `:6: bantime.maxtime: time "soon"`,
		"maxmatches = -1": ":5: maxmatches -1: want 0 or more",
	} {
		var all []string
		for _, p := range loadText(t, bansJail+text+"\n").Problems() {
			all = append(all, p.Error())
		}
		if got := strings.Join(all, "\n"); !strings.Contains(got, want) {
			t.Errorf("%q:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

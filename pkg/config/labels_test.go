package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"bailiff/pkg/engine"
)

// labelConfig loads a configuration that allows labels.
func labelConfig(t *testing.T, docker, more string) *Config {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), []byte("[docker]\nlabels = true\n"+docker+"\n"+more), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func labelledContainer(name string, labels map[string]string) *engine.Container {
	return &engine.Container{ID: strings.Repeat("0123456789abcdef", 4), Name: name, State: "running", Labels: labels, Ports: []engine.Port{{Number: 8080, Protocol: "tcp"}, {Number: 8080, Protocol: "tcp"}}}
}

const labelJails = `
[default]
findtime = "20m"
[jail.app]
failregex = '^login of .* failed from <ADDR>$'
logpath = "/var/log/[app"
maxretry = 4
port = "1234"
[jail.app.action.tell]
ban = "tell <ip>"
[jail.command]
filter = "app"
failregex = '^login of .* failed from <ADDR>$'
ignorecommand = "ask <ip>"
[jail.feed]
list = "/etc/feed"
[jail.docker-taken]
failregex = '^login of .* failed from <ADDR>$'
logpath = "/var/log/app"
`

// TestLabelJail: what labels ask for, and get.
func TestLabelJail(t *testing.T) {
	const ranges = "maxretry = \"3-10\"\nfindtime = \"5m-1h\"\nbantime = \"10m-7d\""
	long := strings.Repeat("x", 100)
	for _, c := range []struct {
		name      string
		docker    string
		container string
		labels    map[string]string
		jail      string // empty: none
		retry     int
		find, ban time.Duration
		told      string // a part of what is told; empty: nothing is
	}{
		{"a jail", "", "web", map[string]string{"bailiff.jail": "app"}, "docker-web", 4, 20 * time.Minute, 10 * time.Minute, "actions of that jail are not run"},
		{"a filter", "", "web", map[string]string{"bailiff.jail": "nginx-http-auth"}, "docker-web", 5, 20 * time.Minute, 10 * time.Minute, ""},
		{"within", ranges, "web", map[string]string{"bailiff.jail": "sshd", "bailiff.maxretry": "7", "bailiff.findtime": "30m", "bailiff.bantime": "1d"}, "docker-web", 7, 30 * time.Minute, 24 * time.Hour, ""},
		{"too many", ranges, "web", map[string]string{"bailiff.jail": "sshd", "bailiff.maxretry": "1000000"}, "docker-web", 10, 20 * time.Minute, 10 * time.Minute, `bailiff.maxretry="1000000" is taken for 10, the most`},
		{"too few", ranges, "web", map[string]string{"bailiff.jail": "sshd", "bailiff.maxretry": "-1"}, "docker-web", 3, 20 * time.Minute, 10 * time.Minute, "is taken for 3, the least"},
		{"for ever", ranges, "web", map[string]string{"bailiff.jail": "sshd", "bailiff.bantime": "-1"}, "docker-web", 5, 20 * time.Minute, 7 * 24 * time.Hour, "is taken for 7d, the most"},
		{"no time", ranges, "web", map[string]string{"bailiff.jail": "sshd", "bailiff.findtime": "0", "bailiff.bantime": "0"}, "docker-web", 5, 5 * time.Minute, 10 * time.Minute, "is taken for 5m, the least"},
		{"no range", "", "web", map[string]string{"bailiff.jail": "sshd", "bailiff.maxretry": "1"}, "docker-web", 5, 20 * time.Minute, 10 * time.Minute, "[docker] maxretry sets no range"},
		{"no number", ranges, "web", map[string]string{"bailiff.jail": "sshd", "bailiff.maxretry": "99999999999999999999"}, "docker-web", 5, 20 * time.Minute, 10 * time.Minute, "want a number"},
		{"no such label", "", "web", map[string]string{"bailiff.jail": "sshd", "bailiff.ignoreip\n": "0.0.0.0/0"}, "docker-web", 5, 20 * time.Minute, 10 * time.Minute, `"bailiff.ignoreip\n" is none that bailiff has`},
		{"no jail", ranges, "web", map[string]string{"bailiff.maxretry": "3"}, "", 0, 0, 0, "no label bailiff.jail"},
		{"unknown", "", "web", map[string]string{"bailiff.jail": "nonesuch"}, "", 0, 0, 0, "no such jail"},
		{"a path", "", "web", map[string]string{"bailiff.jail": "../../etc/passwd"}, "", 0, 0, 0, `bailiff.jail="../../etc/passwd": want 1 to 64 letters`},
		{"lines", "", "web", map[string]string{"bailiff.jail": "sshd\n2026 ERROR forged"}, "", 0, 0, 0, `"sshd\n2026 ERROR forged"`},
		{"options", "", "web", map[string]string{"bailiff.jail": "sshd[mode=ddos]"}, "", 0, 0, 0, "want 1 to 64 letters"},
		{"no text", "", "web", map[string]string{"bailiff.jail": "\xff\x00"}, "", 0, 0, 0, `"\xff\x00"`},
		{"empty", "", "web", map[string]string{"bailiff.jail": ""}, "", 0, 0, 0, "want 1 to 64 letters"},
		{"long", "", "web", map[string]string{"bailiff.jail": long}, "", 0, 0, 0, "want 1 to 64 letters"},
		{"a list", "", "web", map[string]string{"bailiff.jail": "feed"}, "", 0, 0, 0, "is a list"},
		{"a command", "", "web", map[string]string{"bailiff.jail": "command"}, "", 0, 0, 0, "run no commands"},
		{"a name that is taken", "", "taken", map[string]string{"bailiff.jail": "app"}, "", 0, 0, 0, "is one of the configuration"},
		{"a long name", "", long, map[string]string{"bailiff.jail": "sshd"}, "docker-0123456789ab", 5, 20 * time.Minute, 10 * time.Minute, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := labelConfig(t, c.docker, labelJails)
			if errs := cfg.Errors; len(errs) > 0 {
				t.Fatal(errs)
			}
			before := len(cfg.Jails)
			cfg.Filters = nil // as the daemon forgets them
			j, told := cfg.LabelJail(labelledContainer(c.container, c.labels))
			text := strings.Join(told, "\n")
			if c.told == "" && len(told) > 0 || !strings.Contains(text, c.told) {
				t.Errorf("it is told: %s", text)
			}
			for _, one := range told {
				if strings.ContainsAny(one, "\n\x00") || !utf8.ValidString(one) || len(one) > 400 {
					t.Errorf("it is told as it came: %q", one)
				}
			}
			switch {
			case c.jail == "":
				if j != nil {
					t.Errorf("jail %s is made", j.Name)
				}
				return
			case j == nil || j.Broken() != nil:
				t.Fatalf("none is made: %+v %s", j, text)
			}
			if j.Name != c.jail || j.MaxRetry != c.retry || j.FindTime != c.find || j.BanTime != c.ban {
				t.Errorf("jail %s: maxretry %d, findtime %v, bantime %v", j.Name, j.MaxRetry, j.FindTime, j.BanTime)
			}
			if len(j.Rule.Ports) != 1 || j.Rule.Ports[0].First != 8080 || j.Rule.Ports[0].Last != 8080 || j.Rule.Jail != c.jail {
				t.Errorf("it shuts %+v", j.Rule)
			}
			if len(j.LogPath) > 0 || j.Containers == nil || len(j.Containers.Matches) != 1 || j.Containers.Matches[0].Kind != "id" || len(j.Actions) > 0 {
				t.Errorf("it reads %v, %+v, and runs %v", j.LogPath, j.Containers, j.Actions)
			}
			if len(cfg.Jails) != before {
				t.Error("it is among those of the configuration")
			}
		})
	}
}

// TestLabelPorts: what is shut for a container.
func TestLabelPorts(t *testing.T) {
	tcp, udp := func(n uint16) engine.Port { return engine.Port{Number: n, Protocol: "tcp"} }, func(n uint16) engine.Port { return engine.Port{Number: n, Protocol: "udp"} }
	for _, c := range []struct {
		ports                []engine.Port
		list, protocol, left string
	}{
		{nil, "", "", ""},
		{[]engine.Port{tcp(443), tcp(80), tcp(81), tcp(82), tcp(443)}, "80:82 443", "tcp", ""},
		{[]engine.Port{tcp(443), udp(443)}, "443", "tcp udp", ""},
		{[]engine.Port{tcp(80), udp(53)}, "80", "tcp", "53/udp"},
		{[]engine.Port{udp(53)}, "53", "udp", ""},
		{[]engine.Port{{Number: 1, Protocol: "icmp; accept"}}, "", "", ""},
	} {
		list, protocol, left := labelPorts(c.ports)
		if strings.Join(list, " ") != c.list || strings.Join(protocol, " ") != c.protocol || strings.Join(left, " ") != c.left {
			t.Errorf("%v: %v %v %v", c.ports, list, protocol, left)
		}
	}
	cfg := labelConfig(t, "", labelJails)
	c := labelledContainer("web", map[string]string{"bailiff.jail": "sshd"})
	c.Ports = nil
	if j, told := cfg.LabelJail(c); j != nil || !strings.Contains(strings.Join(told, ""), "publishes no port") {
		t.Errorf("without a port: %+v %v", j, told)
	}
	for i := range 2 * (labelPortsMost + 1) {
		c.Ports = append(c.Ports, tcp(uint16(1000+2*i)))
	}
	if j, told := cfg.LabelJail(c); j != nil || !strings.Contains(strings.Join(told, ""), "ranges of ports") {
		t.Errorf("with many: %+v %v", j, told)
	}
	cfg = labelConfig(t, "port = [\"80\", \"443\"]", "")
	if j, told := cfg.LabelJail(c); j == nil || len(j.Rule.Ports) != 2 || j.Rule.Ports[1].First != 443 {
		t.Errorf("with [docker] port: %+v %v", j, told)
	}
}

// TestLabelOptions: what of [docker] is wrong costs itself, and is told with its line.
func TestLabelOptions(t *testing.T) {
	for _, bad := range []string{
		`maxretry = "3"`, `maxretry = 3`, `maxretry = "10-3"`, `maxretry = "0-3"`, `maxretry = "3-"`, `maxretry = "-1-3"`, `maxretry = "a-b"`,
		`findtime = "1h-5m"`, `bantime = "10m--1"`, `port = "htpp"`, `port = []`,
	} {
		cfg := labelConfig(t, bad, "")
		if len(cfg.Errors) != 1 || !strings.Contains(cfg.Errors[0].Error(), "bailiff.toml:3: ") {
			t.Errorf("%s: %v", bad, cfg.Errors)
		}
		if !cfg.Docker.Labels.Allowed || len(cfg.Docker.Labels.Ranges) > 0 || cfg.Docker.Labels.Port != nil {
			t.Errorf("%s: %+v", bad, cfg.Docker.Labels)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), []byte(labelJails), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	if j, told := cfg.LabelJail(labelledContainer("web", map[string]string{"bailiff.jail": "sshd"})); j != nil || told != nil {
		t.Errorf("labels do something where they may not: %+v %v", j, told)
	}
}

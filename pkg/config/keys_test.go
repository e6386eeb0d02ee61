package config

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"

	"github.com/BurntSushi/toml"
)

// TestReference: every key that a file can have has its words, and no other; its example
// is read without complaint; what is said to hold by default does.
func TestReference(t *testing.T) {
	t.Parallel()
	known := 0
	for _, of := range referenceTables {
		fields := map[string]bool{}
		for _, f := range of.fields() {
			fields[f.name] = true
		}
		known += len(fields)
		seen := map[string]bool{}
		for _, w := range of.keys {
			if !fields[w.name] && !openKeys(w.name) || seen[w.name] {
				t.Errorf("%s %s %s: there is no such key, or twice", of.file, of.name, w.name)
			}
			seen[w.name] = true
		}
	}
	jail := map[string]bool{}
	for _, k := range jailKeys {
		if jail[k.name] {
			t.Errorf("%s is declared twice", k.name)
		}
		jail[k.name] = true
	}
	known += len(jail)
	keys := Reference()
	if len(keys) < known {
		t.Fatalf("%d keys of %d", len(keys), known)
	}
	for _, k := range keys {
		id := strings.TrimSpace(k.File + " " + k.Table + " " + k.Name)
		if k.Text == "" || k.Example == "" {
			t.Errorf("%s has no words or no example", id)
			continue
		}
		if !strings.HasSuffix(k.Text, ".") {
			t.Errorf("%s: %q is no sentence", id, k.Text)
		}
		if name := strings.Trim(k.Name, `"`); !openKeys(name) && !strings.Contains(k.Example, name) {
			t.Errorf("%s: the example hasn't the key: %s", id, k.Example)
		}
		t.Run(id, func(t *testing.T) { readExample(t, k) })
	}
}

// readExample has a key's example read by Load, in a file that has it in its table.
func readExample(t *testing.T, k Key) {
	dir := t.TempDir()
	main, filter := "", ""
	const jail = "[jail.app]\nenabled = true\n"
	const log = "logpath = \"/var/log/app.log\"\n"
	const expression = "failregex = '^login of .* failed from <ADDR>$'\n"
	switch k.Table {
	case "jail.NAME":
		main = jail + k.Example + "\n"
		if k.Name == "enabled" {
			main = "[jail.app]\n" + k.Example + "\n"
		}
		for _, more := range []string{log, "filter = \"app\"\n"} {
			if name, _, _ := strings.Cut(more, " "); !strings.Contains(k.Example, name) && !strings.HasPrefix(k.Name, "list") && k.Name != "backend" && k.Name != "journalmatch" {
				main += more
			}
		}
		filter = expression + "[mode.aggressive]\n" + expression
	case "jail.NAME.action.ACTION":
		main, filter = jail+log+"[jail.app.action.act]\n"+k.Example, expression
	default:
		switch {
		case k.File == FilterFile && k.Table == "":
			filter = k.Example
			if !strings.Contains(filter, "failregex") && k.Name != "failregex" {
				filter += "\n" + expression
			}
		case k.File == FilterFile:
			table := "[" + strings.NewReplacer("MODE", "ddos").Replace(k.Table) + "]"
			if k.Table == "sample" || k.Table == "json.match" {
				table = "[" + table + "]"
			}
			switch k.Table {
			case "json":
				filter = table + "\n"
				if !strings.Contains(k.Example, "host") || k.Name == "hosts" {
					filter += "host = \"ip\"\n"
				}
				filter += k.Example + "\n[[json.match]]\nstatus = 401"
			case "json.match":
				filter = "[json]\nhost = \"ip\"\n" + table + "\n" + k.Example
			case "prefix":
				filter = "failregex = '<line>failed from <ADDR>'\n" + table + "\n" + k.Example
			default:
				filter = expression + table + "\n" + k.Example
			}
			if k.Name == "with" {
				filter += "\n[mode.normal]\n" + expression
			}
		case k.Table == "":
			main = k.Example
		default:
			main = "[" + strings.Replace(k.Table, "group.NAME", "group.ssh", 1) + "]\n" + k.Example
		}
	}
	if filter == "" {
		filter = expression
	}
	for _, f := range []struct{ name, text string }{{"bailiff.toml", main}, {"filters/app.toml", filter}} {
		path := filepath.Join(dir, f.name)
		hosttest.Write(t, path, f.text)
		var table map[string]any
		if _, err := toml.Decode(f.text, &table); err != nil {
			t.Fatalf("%v\n%s", err, f.text)
		}
	}
	cfg, err := Load(Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range cfg.Problems() {
		t.Errorf("%v\n%s\n%s", err, main, filter)
	}
	if strings.HasPrefix(k.Table, "jail.") && len(cfg.Jails) != 1 {
		t.Fatalf("%d jails", len(cfg.Jails))
	}
	if k.Table != jailTable.name {
		return
	}
	// bailiff config show has it, with its place.
	at := slices.IndexFunc(cfg.Jails[0].Settings, func(s Setting) bool { return s.Name == k.Name })
	if at < 0 {
		t.Fatalf("no %s in %+v", k.Name, cfg.Jails[0].Settings)
	}
	if s := cfg.Jails[0].Settings[at]; s.File != filepath.Join(dir, "bailiff.toml") || s.Line < 2 {
		t.Errorf("%+v", s)
	}
}

// TestReferenceDefaults: what a file says that says what the reference calls a default is
// what holds without it.
func TestReferenceDefaults(t *testing.T) {
	t.Parallel()
	loaded := map[string]string{}
	load := func(text string) (out string) {
		if out, ok := loaded[text]; ok {
			return out
		}
		defer func() { loaded[text] = out }()
		dir := t.TempDir()
		write := func(name, text string) {
			hosttest.Write(t, filepath.Join(dir, name), text)
		}
		write("bailiff.toml", text)
		write("filters/app.toml", "failregex = '^failed from <ADDR>$'\n")
		cfg, err := Load(Options{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		if errs := cfg.Problems(); len(errs) > 0 {
			t.Fatalf("%v\n%s", errs, text)
		}
		cfg.Firewall.Table, cfg.Firewall.Chain = cmp.Or(cfg.Firewall.Table, "f2b-table"), cmp.Or(cfg.Firewall.Chain, "f2b-chain")
		out = fmt.Sprintf("%+v %s %+v %+v %v %v", cfg.Log, cfg.Socket, cfg.Database, cfg.Firewall, cfg.RemoveForeign, cfg.NoFirewall)
		for _, j := range cfg.Jails {
			j.Settings, j.Sources, j.Parts, j.Warnings = nil, nil, nil, nil // a key of another backend is told
			if j.Increase != nil {                                          // named, it is the same as not named
				j.Increase.Factor, j.Increase.Formula = strings.TrimSuffix(j.Increase.Factor, "1"), ""
				out += fmt.Sprintf("%+v", *j.Increase)
				j.Increase = nil
			}
			out += fmt.Sprintf("\n%+v", *j)
		}
		return strings.ReplaceAll(out, dir, "")
	}
	tried := 0
	for _, k := range Reference() {
		value := k.Default
		switch { // others are told in words, or are of what has to be named
		case value == "" || k.File == FilterFile || strings.Contains(k.Table, "export") || strings.Contains(k.Table, "report") || strings.Contains(k.Table, "fleet") || strings.Contains(k.Table, "action"), k.Name == "enabled" && k.Table == "jail.NAME":
			continue
		case strings.HasPrefix(value, "the ") || strings.HasPrefix(value, "that ") || strings.HasPrefix(value, "all known") || value == "none", value == "maxretry", k.Name == "logencoding":
			continue // in words
		case k.Type == typeText || k.Type == typeValue || k.Type == typeTexts || k.Type == typeTime:
			value = fmt.Sprintf("%q", value)
		}
		before := "[jail.app]\nenabled = true\nlogpath = \"/var/log/app.log\"\n"
		if strings.HasPrefix(k.Name, "bantime.") {
			before += "\"bantime.increment\" = true\n"
		}
		key := k.Name
		if strings.HasPrefix(key, "bantime.") {
			key = `"` + key + `"`
		}
		if k.Name == "bantime.increment" {
			before = strings.Replace(before, "\"bantime.increment\" = true\n", "", 1)
		}
		text := before
		switch k.Table {
		case "jail.NAME":
			text += key + " = " + value + "\n"
		case "":
			text = key + " = " + value + "\n" + text
		default:
			text += "[" + k.Table + "]\n" + key + " = " + value + "\n"
		}
		if got, want := load(text), load(before); got != want {
			t.Errorf("%s %s = %s is no default:\n%s\n%s", k.Table, k.Name, value, got, want)
		}
		tried++
	}
	if tried < 25 {
		t.Errorf("%d defaults tried", tried)
	}
}

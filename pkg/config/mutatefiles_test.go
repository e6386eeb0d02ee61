package config

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"bailiff/filters"
	"bailiff/jails"
)

// subject is a configuration of which some files are mutated.
type subject struct {
	name   string
	files  map[string]string
	mutate []string

	// Of the one that is not mutated, once it was needed:
	dir, means string
	messages   []string
}

// ready writes the configuration, and has it read.
func (s *subject) ready(t *testing.T) {
	t.Helper()
	if s.dir != "" {
		return
	}
	var list []string
	for _, f := range sortedKeys(s.files) {
		list = append(list, f, s.files[f])
	}
	s.dir = directory(t, list...)
	var err error
	if s.means, s.messages, err = outcome(s.dir); err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
}

var included = regexp.MustCompile(`(?m)^(?:before|after)\s*=\s*(\S+)`)

// withIncluded returns a file of fail2ban's, and those that it includes, by name.
func withIncluded(t *testing.T, folder, name string, into map[string]string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("/etc/fail2ban", folder, name))
	if err != nil {
		if os.IsNotExist(err) && strings.HasSuffix(name, ".local") {
			return
		}
		t.Fatalf("%v: this test needs Debian's package fail2ban (make test installs it)", err)
	}
	into[path.Join(folder, name)] = string(data)
	for _, m := range included.FindAllStringSubmatch(string(data), -1) {
		if into[path.Join(folder, m[1])] == "" {
			withIncluded(t, folder, m[1], into)
		}
	}
}

// subjects are all configuration files of the tests: those made for them, stock jails and
// filters as if they were an operator's own, the examples, what the scripts of cmd/bailiff
// have, and each file of Debian's fail2ban.
func subjects(t *testing.T) (out []*subject) {
	add := func(name string, files map[string]string, mutate ...string) {
		if len(mutate) == 0 {
			mutate = sortedKeys(files)
		}
		out = append(out, &subject{name: name, files: files, mutate: mutate})
	}
	configs := configurations(t)
	for _, name := range sortedKeys(configs) {
		add(name, configs[name])
	}
	stock := func(of fs.FS) (names []string) {
		names, err := fs.Glob(of, "*.toml")
		if err != nil || len(names) < 50 {
			t.Fatal(len(names), err)
		}
		return names
	}
	read := func(of fs.FS, name string) string {
		data, err := fs.ReadFile(of, name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for _, f := range stock(filters.FS) {
		name := strings.TrimSuffix(f, ".toml")
		add("filters/"+name, map[string]string{
			"bailiff.toml": fmt.Sprintf("[jail.x]\nenabled = true\nfilter = %q\nlogpath = \"/var/log/x.log\"\n", name), "filters/" + f: read(filters.FS, f),
		}, "filters/"+f)
	}
	for _, f := range stock(jails.FS) {
		add("jails/"+f, map[string]string{"bailiff.toml": "", "jails/" + f: "enabled = true\n" + read(jails.FS, f)}, "jails/"+f)
	}
	const example = "../../examples/django/bailiff"
	django := map[string]string{}
	if err := filepath.WalkDir(example, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(p, ".toml") {
			rel, _ := filepath.Rel(example, p)
			django[rel] = read(os.DirFS(example), rel)
		}
		return err
	}); err != nil || len(django) < 3 {
		t.Fatal(len(django), err)
	}
	add("examples/django", django)
	scripts(t, add)
	for _, kind := range []struct{ folder, jail string }{
		{"filter.d", "[x]\nenabled = true\nbackend = auto\nlogpath = /var/log/x.log\nfilter = %s\n"},
		{"action.d", "[x]\nenabled = true\nbackend = auto\nlogpath = /var/log/x.log\nfilter = f\naction = %s\n"},
	} {
		all, err := filepath.Glob("/etc/fail2ban/" + kind.folder + "/*.conf")
		if err != nil || len(all) < 50 {
			t.Fatalf("%d files in %s: this test needs Debian's package fail2ban (make test installs it)", len(all), kind.folder)
		}
		var done []string
		for _, p := range all {
			name := strings.TrimSuffix(filepath.Base(p), ".conf")
			if strings.HasSuffix(name, "common") {
				continue // with what includes it
			}
			files := map[string]string{"jail.conf": fmt.Sprintf(kind.jail, name), "filter.d/f.conf": "[Definition]\nfailregex = ^f <HOST>\n"}
			withIncluded(t, kind.folder, name+".conf", files)
			var mutate []string
			for f := range files {
				if strings.HasPrefix(f, kind.folder) && f != "filter.d/f.conf" && !slices.Contains(done, f) {
					mutate = append(mutate, f)
				}
			}
			slices.Sort(mutate)
			if done = append(done, mutate...); len(mutate) > 0 {
				add("debian/"+kind.folder+"/"+name, files, mutate...)
			}
		}
	}
	paths, _ := filepath.Glob("/etc/fail2ban/paths-*.conf")
	for _, p := range paths {
		name := filepath.Base(p)
		files := map[string]string{
			"jail.conf":       "[INCLUDES]\nbefore = " + name + "\n[x]\nenabled = true\nbackend = auto\nlogpath = %(syslog_authpriv)s\nfilter = f\naction =\n",
			"filter.d/f.conf": "[Definition]\nfailregex = ^f <HOST>\n",
		}
		if name == "paths-common.conf" {
			continue // with the others
		}
		withIncluded(t, ".", name, files)
		add("debian/"+name, files, name, "paths-common.conf")
	}
	return out
}

// scripts adds what the scripts of the whole program have for configurations.
func scripts(t *testing.T, add func(string, map[string]string, ...string)) {
	all, err := filepath.Glob("../../cmd/bailiff/testdata/script/*.txtar")
	if err != nil || len(all) == 0 {
		t.Fatal(len(all), err)
	}
	for _, p := range all {
		a, err := txtar.ParseFile(p)
		if err != nil {
			t.Fatal(err)
		}
		folders := map[string]map[string]string{}
		for _, f := range a.Files {
			if base := path.Base(f.Name); base == "bailiff.toml" || base == "jail.conf" || base == "jail.local" {
				folders[path.Dir(f.Name)] = map[string]string{}
			}
		}
		for _, folder := range sortedKeys(folders) {
			files := folders[folder]
			for _, f := range a.Files {
				rel, below := strings.CutPrefix(f.Name, folder+"/")
				if ext := path.Ext(rel); below && slices.Contains([]string{".toml", ".conf", ".local"}, ext) {
					files[rel] = string(f.Data)
				}
			}
			if _, err := Load(Options{Path: directory(t, flat(files)...)}); err == nil { // else the script is about that
				add("scripts/"+filepath.Base(p)+"/"+folder, files)
			}
		}
	}
}

func flat(files map[string]string) (list []string) {
	for _, f := range sortedKeys(files) {
		list = append(list, f, files[f])
	}
	return list
}

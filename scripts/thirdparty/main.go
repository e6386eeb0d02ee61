// Thirdparty writes what others' code is in bailiff's program, and under which licences, with
// their words: the file THIRD_PARTY. It asks the go command what is linked in, on each
// architecture that packages are made for, and reads what the modules say. A licence that it
// does not know, or that asks more of us than to be named, is an error.
//
//	thirdparty FILE          writes FILE
//	thirdparty -check FILE   an error if FILE says something else
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	check := flag.Bool("check", false, "write nothing: compare")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: thirdparty [-check] FILE")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *check); err != nil {
		fmt.Fprintln(os.Stderr, "thirdparty:", err)
		os.Exit(1)
	}
}

func run(file string, check bool) error {
	modules, err := linked("./cmd/bailiff", "amd64", "arm64")
	if err != nil {
		return err
	}
	text, err := page(modules)
	if err != nil {
		return err
	}
	if !check {
		return os.WriteFile(file, text, 0o644)
	}
	was, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !bytes.Equal(was, text) {
		return fmt.Errorf("%s is not what is linked in: make third-party", file)
	}
	fmt.Printf("%s is what is linked in: %d modules\n", file, len(modules))
	return nil
}

// module is one that code of is linked in.
type module struct {
	Path, Version, Dir string
}

// linked lists the modules of a program's packages, and Go itself first.
func linked(program string, arches ...string) ([]module, error) {
	found := map[module]bool{}
	for _, arch := range arches {
		cmd := exec.Command("go", "list", "-tags", "hub", "-deps", "-json=Module", program) // with what only bailiff-hub has
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("go list for %s: %w", arch, err)
		}
		for dec := json.NewDecoder(bytes.NewReader(out)); ; {
			var p struct {
				Module *struct {
					module
					Main bool
				}
			}
			if err := dec.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, err
			}
			if p.Module != nil && !p.Module.Main {
				found[p.Module.module] = true
			}
		}
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, err
	}
	modules := []module{}
	for m := range found {
		modules = append(modules, m)
	}
	slices.SortFunc(modules, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	std := module{Path: "Go's standard library", Dir: strings.TrimSpace(string(root))}
	return append([]module{std}, modules...), nil
}

// names of files that tell a licence. A module's logo is in no program.
var (
	names  = regexp.MustCompile(`(?i)^(un)?(licen[sc]e|copying|copyright|notice|patents)([-._].*)?$`)
	logo   = regexp.MustCompile(`(?i)logo`)
	choice = regexp.MustCompile(`spdx-license-identifier: (\S+) or `)
	// These come beside a licence: they are printed, and judged by nobody. Some tell of
	// what only a module's tests need.
	beside = regexp.MustCompile(`(?i)^(notice|patents)|3rd-party`)
	spaces = regexp.MustCompile(`\s+`)
)

// drawn is what is made of others' data, with its licence: no module tells of it.
var drawn = [][2]string{
	{"the map of pkg/web: Natural Earth's countries, www.naturalearthdata.com", "public domain"}, // by scripts/worldmap
}

// page is THIRD_PARTY's text. The same words of several modules stand there once.
func page(modules []module) ([]byte, error) {
	type words struct {
		text string
		of   []string
	}
	var all []*words
	byText := map[string]*words{}
	var b strings.Builder
	b.WriteString("What others' code and data is in bailiff's program, and its licences. Made by `make third-party`.\n\n")
	for _, m := range modules {
		entries, err := os.ReadDir(m.Dir)
		if err != nil {
			return nil, err
		}
		title := strings.TrimSpace(m.Path + " " + m.Version)
		var kinds []string
		for _, e := range entries {
			if !e.Type().IsRegular() || !names.MatchString(e.Name()) || logo.MatchString(e.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(m.Dir, e.Name()))
			if err != nil {
				return nil, err
			}
			if !beside.MatchString(e.Name()) {
				k := kind(string(text))
				if k == "" {
					return nil, fmt.Errorf("%s: %s is of no licence that is known: read it, and teach scripts/thirdparty", title, e.Name())
				}
				if !slices.Contains(kinds, k) {
					kinds = append(kinds, k)
				}
			}
			key := strings.Join(strings.Fields(string(text)), " ")
			if byText[key] == nil {
				byText[key] = &words{text: strings.TrimRight(string(text), "\n")}
				all = append(all, byText[key])
			}
			byText[key].of = append(byText[key].of, title+": "+e.Name())
		}
		if len(kinds) == 0 {
			return nil, fmt.Errorf("%s tells no licence in %s", title, m.Dir)
		}
		fmt.Fprintf(&b, "%-75s %s\n", title, strings.Join(kinds, ", "))
	}
	for _, d := range drawn {
		fmt.Fprintf(&b, "%-75s %s\n", d[0], d[1])
	}
	for _, w := range all {
		fmt.Fprintf(&b, "\n%s\n%s\n%s\n\n%s\n", strings.Repeat("=", 80), strings.Join(w.of, "\n"), strings.Repeat("-", 80), w.text)
	}
	return []byte(b.String()), nil
}

// kind names the licence by what only its words say; "" is one that is not known, or that
// wants more than to be named.
func kind(text string) string {
	t := strings.ToLower(spaces.ReplaceAllString(text, " "))
	has := func(words string) bool { return strings.Contains(t, words) }
	// Whoever gives a choice is taken at the word that we may have.
	if m := choice.FindStringSubmatch(t); m != nil && m[1] == "bsd-3-clause" {
		return "BSD-3-Clause"
	}
	switch {
	case has("gnu general public license"), has("gnu lesser general public"), has("gnu affero"), has("mozilla public license"):
		return ""
	case has("apache license") && has("version 2.0"):
		return "Apache-2.0"
	case has("redistribution and use in source and binary forms"):
		if has("neither the name") || has("may not be used to endorse") || has("may be used to endorse") {
			return "BSD-3-Clause"
		}
		return "BSD-2-Clause"
	case has("permission is hereby granted, free of charge"):
		return "MIT"
	case has("permission to use, copy, modify, and") && has("with or without fee"):
		return "ISC"
	case has("public domain"):
		return "public domain"
	}
	return ""
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKind(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"Apache License\n   Version 2.0, January 2004", "Apache-2.0"},
		{"Redistribution and use in source and\nbinary forms, with or without … Neither the name of Google", "BSD-3-Clause"},
		{"Redistribution and use in source and binary forms, with or without", "BSD-2-Clause"},
		{"Permission is hereby granted, free of charge, to any person", "MIT"},
		{"Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee", "ISC"},
		{"GNU GENERAL PUBLIC LICENSE Version 2", ""},
		{"/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */\nRedistribution … GNU General Public License", "BSD-3-Clause"},
		{"/* SPDX-License-Identifier: GPL-2.0-only OR LGPL-2.1 */ GNU General Public License", ""},
		{"All rights reserved.", ""},
	} {
		if got := kind(c.text); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

// TestPage: each module is named with its licence and its words, the same words once; one
// that tells none, or one that is not known, is an error.
func TestPage(t *testing.T) {
	dir := t.TempDir()
	write := func(path, name, text string) module {
		t.Helper()
		d := filepath.Join(dir, path)
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if name != "" {
			if err := os.WriteFile(filepath.Join(d, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return module{Path: path, Version: "v1", Dir: d}
	}
	mit := "Permission is hereby granted, free of charge\n"
	a, b := write("a", "LICENSE", mit), write("b", "COPYING", "Permission is  hereby granted,\nfree of charge")
	text, err := page([]module{a, b})
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "free of charge"); n != 1 {
		t.Errorf("the same words stand there %d times:\n%s", n, text)
	}
	for _, want := range []string{"a v1: LICENSE\nb v1: COPYING\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if _, err := page([]module{write("none", "", "")}); err == nil {
		t.Error("a module without a licence passes")
	}
	if _, err := page([]module{write("gpl", "COPYING", "GNU GENERAL PUBLIC LICENSE")}); err == nil {
		t.Error("an unknown licence passes")
	}
	write("a", "LICENSE-LOGO", "https://example.org/logo.png")
	if _, err := page([]module{a}); err != nil {
		t.Errorf("a logo is in no program: %v", err)
	}
}

package config

import (
	"path/filepath"
	"reflect"
	"testing"

	"bailiff/pkg/hosttest"
)

// A daemon reads of what the program carries what its jails have, and has the same jails.
func TestForJails(t *testing.T) {
	for name, text := range map[string]string{
		"none": "",
		"some": "[jail.sshd]\nenabled = true\nlogpath = \"/var/log/auth.log\"\n[jail.web]\nenabled = true\nfilter = \"nginx-http-auth\"\nlogpath = \"/var/log/nginx/error.log\"\n" +
			"[jail.dovecot]\nenabled = true\nbackend = \"systemd\"\n[jail.own]\nenabled = true\nfailregex = [\"failed <HOST>\"]\nlogpath = \"/var/log/own.log\"\n" +
			"[jail.wrong]\nenabled = true\nfilter = \"nginx-http-aut\"\nlogpath = \"/var/log/nginx/error.log\"\n",
		"all": "[default]\nenabled = true\nlogpath = \"/var/log/all.log\"\n",
		"bad": "[default]\nenabled = 3\nbantime = true\n[jail.sshd]\nenabled = true\nlogpath = \"/var/log/auth.log\"\nmaxretry = \"x\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bailiff.toml")
			hosttest.Write(t, path, text)
			whole, err := Load(Options{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			lean, err := Load(Options{Path: path, ForJails: true})
			if err != nil {
				t.Fatal(err)
			}
			if name != "none" && len(whole.Jails) == 0 {
				t.Fatal("no jails")
			}
			if !reflect.DeepEqual(whole.Problems(), lean.Problems()) || !reflect.DeepEqual(whole.Warnings, lean.Warnings) {
				t.Errorf("%v, %v are told, want %v, %v", lean.Problems(), lean.Warnings, whole.Problems(), whole.Warnings)
			}
			if len(whole.Jails) != len(lean.Jails) {
				t.Fatalf("%d jails, want %d", len(lean.Jails), len(whole.Jails))
			}
			for i, j := range whole.Jails {
				a, b := *j, *lean.Jails[i]
				if (a.Filter.JSON == nil) != (b.Filter.JSON == nil) {
					t.Errorf("jail %s reads JSON: %v, want %v", j.Name, b.Filter.JSON != nil, a.Filter.JSON != nil)
				}
				a.Filter.JSON, b.Filter.JSON = nil, nil // it is compiled in parts
				if !reflect.DeepEqual(a, b) {
					t.Errorf("jail %s: %+v\nwant %+v", j.Name, b, a)
				}
			}
			if len(whole.Filters) != len(lean.Filters) {
				t.Errorf("%d filters by name, want %d", len(lean.Filters), len(whole.Filters))
			}
			read := 0
			for n, f := range lean.Filters {
				if f.unread == "" {
					read++
				}
				if whole.Filters[n].unread != "" || whole.Filters[n].doc == nil {
					t.Errorf("filter %s was not read", n)
				}
			}
			if want := map[string]int{"none": 0, "some": 3, "bad": 1}; name != "all" && read != want[name] {
				t.Errorf("%d filters were read, want %d", read, want[name])
			}
		})
	}
}

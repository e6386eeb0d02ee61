package config

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"bailiff/filters"
	"bailiff/jails"
)

// TestSchema: the schemas take every stock definition, every example of the reference and
// of the documents, and what has a key or a value that Load complains of is refused.
func TestSchema(t *testing.T) {
	compiler := jsonschema.NewCompiler()
	schemas := map[string]*jsonschema.Schema{}
	for _, file := range []string{MainFile, JailFile, FilterFile} {
		text, err := json.Marshal(Schema(file))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler.AddResource(file, doc); err != nil {
			t.Fatal(err)
		}
		if schemas[file], err = compiler.Compile(file); err != nil {
			t.Fatal(err)
		}
	}
	check := func(file, text string) error {
		t.Helper()
		var table map[string]any
		if _, err := toml.Decode(text, &table); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		data, err := json.Marshal(table)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		return schemas[file].Validate(v)
	}
	tried := 0
	for _, stock := range []struct {
		files fs.FS
		kind  string
	}{{filters.FS, FilterFile}, {jails.FS, JailFile}} {
		names, _ := fs.Glob(stock.files, "*.toml")
		for _, name := range names {
			data, err := fs.ReadFile(stock.files, name)
			if err != nil {
				t.Fatal(err)
			}
			if err := check(stock.kind, string(data)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			tried++
		}
	}
	for _, k := range Reference() {
		text := k.Example
		if table := strings.NewReplacer("sample", "[sample]", "json.match", "[json.match]").Replace(k.Table); table != "" {
			text = "[" + table + "]\n" + text
		}
		if err := check(k.File, text); err != nil {
			t.Errorf("%s %s: %v", k.Table, k.Name, err)
		}
		tried++
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^    # (/etc/bailiff/\S+\.toml)\n((?:    .*\n|\n)+)`).FindAllStringSubmatch(string(readme), -1) {
		kind := MainFile
		if filepath.Base(filepath.Dir(m[1])) == "filters" {
			kind = FilterFile
		}
		if err := check(kind, m[2]); err != nil {
			t.Errorf("README, %s: %v", m[1], err)
		}
		tried++
	}
	if tried < 250 {
		t.Errorf("%d documents tried", tried)
	}
	for text, kind := range map[string]string{
		"bantiem = '1h'":                             JailFile,
		"maxretry = 'three'":                         JailFile,
		"blocktype = 'tarpit'":                       JailFile,
		"[jail.sshd]\nban.prefix5 = 3":               MainFile,
		"[jail.sshd.action.x]\nbann = 'true'":        MainFile,
		"[firewall]\nenabled = 'yes'":                MainFile,
		"[sample]\nline = 'x'":                       FilterFile,
		"[[sample]]\nline = 'x'\nhots = '192.0.2.7'": FilterFile,
	} {
		if check(kind, text) == nil {
			t.Errorf("%q is taken for right", text)
		}
	}
}

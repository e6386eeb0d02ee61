package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// The reference is what the manual pages, `bailiff config reference` and the schema for
// editors are made of: the keys are those of the structs that files are decoded into, with
// their types; what words say of them stands in referenceTables, and a test finds a key
// without words, words without a key, an example that isn't read and a default that is
// another.

// Kinds of files.
const (
	MainFile   = "bailiff.toml"
	JailFile   = "jails/NAME.toml"
	FilterFile = "filters/NAME.toml"
)

// Key is one key of a configuration file.
type Key struct {
	// File is the kind of file: MainFile or FilterFile. JailFile has what [jail.NAME] of
	// MainFile has.
	File string `json:"file"`
	// Table is the table in which it stands, as "jail.NAME.action.ACTION"; empty: before
	// all tables.
	Table string `json:"table,omitempty"`
	Name  string `json:"name"`
	// Type is one of text, value (a text or a number), texts, expressions (texts, or tables
	// of regex and weight), number, boolean, time, table.
	Type string `json:"type"`
	// Unit is of a bare number.
	Unit string `json:"unit,omitempty"`
	// Values are all that there can be; nil: any of the type.
	Values []string `json:"values,omitempty"`
	// Default holds where no file says anything; empty: nothing does.
	Default string `json:"default,omitempty"`
	// Example is TOML as it may stand in the table.
	Example string `json:"example"`
	// Text says what it does, in whole sentences.
	Text string `json:"text"`
}

// Types of values in files.
const (
	typeText        = "text"
	typeValue       = "value"
	typeTexts       = "texts"
	typeExpressions = "expressions"
	typeNumber      = "number"
	typeBoolean     = "boolean"
	typeTime        = "time"
	typeTable       = "table"
)

// refTable is a table of a file.
type refTable struct {
	file, name string
	// of is what it is decoded into; nil: its keys are anybody's names, or a jail's, which are
	// a table of their own (keysjail.go). Keys that are apart are tables of their own.
	of    reflect.Type
	apart []string
	keys  []keyWords
}

// jailTable is what a jail may say, and what [default] says for all.
var jailTable = refTable{file: MainFile, name: "jail.NAME"}

// keyWords is what the reference says of a key.
type keyWords struct {
	name    string
	time    bool     // the value is a time
	shown   bool     // of a jail: config show has it even where no file says anything
	def     string   // what holds where no file says anything, if nothing in the program says that
	values  []string // all that there can be
	example string
	text    string
}

// refField is one field that a file can fill.
type refField struct {
	name string
	of   reflect.Type
}

// fields are all keys that a table's struct takes, in its order.
func (t *refTable) fields() []refField {
	var out []refField
	if t.of == nil {
		return nil
	}
	for i := range t.of.NumField() {
		if f := t.of.Field(i); !slices.Contains(t.apart, f.Tag.Get("toml")) {
			out = append(out, refField{f.Tag.Get("toml"), f.Type})
		}
	}
	return out
}

// refType tells a field's type in words of files.
func refType(t reflect.Type, words *keyWords) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[failList]():
		return typeExpressions
	case t == reflect.TypeFor[stringList](), t == reflect.TypeFor[[]string]():
		return typeTexts
	case words.time:
		return typeTime
	case t == reflect.TypeFor[text]():
		return typeValue
	case t.Kind() == reflect.Bool:
		return typeBoolean
	case t.Kind() == reflect.Int:
		return typeNumber
	case t.Kind() == reflect.Map:
		return typeTable
	}
	return typeText
}

// Reference returns every key of bailiff.toml and of filters' files, table by table.
func Reference() []Key {
	defaults := referenceDefaults()
	var out []Key
	for _, t := range referenceTables {
		if t.name == jailTable.name {
			for _, k := range jailKeys {
				out = append(out, k.reference())
			}
			continue
		}
		for _, f := range t.fields() {
			w := &keyWords{} // the test finds it
			if i := slices.IndexFunc(t.keys, func(w keyWords) bool { return w.name == f.name }); i >= 0 {
				w = &t.keys[i]
			}
			k := Key{File: t.file, Table: t.name, Name: f.name, Type: refType(f.of, w), Values: w.values, Default: w.def, Example: w.example, Text: w.text}
			if t.file == MainFile {
				k.Default = cmp.Or(defaults[strings.TrimPrefix(t.name+"."+f.name, ".")], w.def)
			}
			if k.Type == typeTime {
				k.Unit = "seconds"
			}
			out = append(out, k)
		}
		if w := t.keys[0]; openKeys(w.name) {
			out = append(out, Key{File: t.file, Table: t.name, Name: w.name, Type: typeText, Example: w.example, Text: w.text})
		}
	}
	return out
}

// openKeys reports whether a table's keys are anybody's names: a filter's prefixes, fields
// of a log.
func openKeys(name string) bool { return name == "NAME" || name == "FIELD" }

// referenceDefaults is what holds where no file says anything, as Load resolves it.
func referenceDefaults() map[string]string {
	out := map[string]string{}
	cfg := newConfig()
	out["loglevel"], out["logtarget"], out["socket"] = cfg.Log.Level, cfg.Log.Target, cfg.Socket
	out["database.path"] = defaultStateDir + "/" + databaseName
	out["database.purgeage"] = Spell(cfg.Database.PurgeAge)
	out["database.maxmatches"] = fmt.Sprint(cfg.Database.MaxMatches)
	out["database.events"] = fmt.Sprint(cfg.Database.Events >> 20)
	return out
}

// Spell writes a time as files have it, in whole seconds: 2d, 90m, 45.
func Spell(d time.Duration) string {
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d >= u.of && d%u.of == 0 {
			return fmt.Sprintf("%d%s", d/u.of, u.name)
		}
	}
	return fmt.Sprint(int(d / time.Second))
}

// Heading names the table in which the key stands, as the file writes it.
func (k *Key) Heading() string {
	switch {
	case k.Table == "" && k.File == MainFile:
		return k.File + ", before all tables"
	case k.Table == "":
		return k.File
	case k.Table == "jail.NAME":
		return k.File + ", [default] and [" + k.Table + "]; " + JailFile
	case k.Table == "sample" || k.Table == "json.match":
		return k.File + ", [[" + k.Table + "]]"
	}
	return k.File + ", [" + k.Table + "]"
}

// Kind tells the key's type, what it can be, and its default, in words.
func (k *Key) Kind() string {
	out := map[string]string{
		typeText: "a text", typeValue: "a text or a number", typeTexts: "a text or a list of them", typeExpressions: "a text or a list of them, each also { regex = '…', weight = N }", typeNumber: "a number", typeBoolean: "true or false",
		typeTime: "a time: 10m, 1h, 2d, or seconds", typeTable: "a table of texts",
	}[k.Type]
	if k.Values != nil {
		out = strings.Join(k.Values, ", ")
	}
	if k.Default != "" {
		out += "; default: " + k.Default
	}
	return out
}

// Written is the key as a file writes it.
func (k *Key) Written() string {
	if strings.HasPrefix(k.Name, "bantime.") {
		return `"` + k.Name + `"`
	}
	return k.Name
}

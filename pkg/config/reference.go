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
	// Type is one of text, value (a text or a number), texts, number, boolean, time, table.
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
	typeText    = "text"
	typeValue   = "value"
	typeTexts   = "texts"
	typeNumber  = "number"
	typeBoolean = "boolean"
	typeTime    = "time"
	typeTable   = "table"
)

// keyWords is what the reference says of a key.
type keyWords struct {
	name    string
	time    bool     // the value is a time
	def     string   // what holds where no file says anything, if nothing in the program says that
	values  []string // all that there can be
	example string
	text    string
}

// refTable is a table of a file with the struct that it is decoded into.
type refTable struct {
	file, name string
	of         reflect.Type
	// skip are keys that are tables of their own here.
	skip []string
}

var refTables = []refTable{
	{MainFile, "", reflect.TypeFor[rawMain](), []string{"read", "database", "firewall", "export", "proxy", "default", "jail"}},
	{MainFile, "read", reflect.TypeFor[rawRead](), nil},
	{MainFile, "database", reflect.TypeFor[rawDatabase](), nil},
	{MainFile, "firewall", reflect.TypeFor[rawFirewall](), nil},
	{MainFile, "proxy", reflect.TypeFor[rawProxy](), nil},
	{MainFile, "export.NAME", reflect.TypeFor[rawExport](), nil},
	{MainFile, "jail.NAME", reflect.TypeFor[rawJail](), []string{"action"}},
	{MainFile, "jail.NAME.action.ACTION", reflect.TypeFor[rawAction](), nil},
	{FilterFile, "", reflect.TypeFor[rawFilter](), []string{"mode", "sample", "json", "client", "prefix"}},
	{FilterFile, "prefix", nil, nil},
	{FilterFile, "client", nil, nil},
	{FilterFile, "mode.MODE", reflect.TypeFor[rawMode](), nil},
	{FilterFile, "json", reflect.TypeFor[rawJSON](), []string{"match"}},
	{FilterFile, "json.match", nil, nil},
	{FilterFile, "sample", reflect.TypeFor[rawSample](), nil},
}

// refField is one field that a file can fill.
type refField struct {
	file, table, name string
	of                reflect.Type
}

// refFields are all keys that files can have, in the order of the structs.
func refFields() []refField {
	var out []refField
	for _, t := range refTables {
		if t.of == nil {
			continue
		}
		for i := range t.of.NumField() {
			f := t.of.Field(i)
			key := f.Tag.Get("toml")
			if slices.Contains(t.skip, key) {
				continue
			}
			if f.Type.Kind() == reflect.Pointer && f.Type.Elem().Kind() == reflect.Struct {
				for j := range f.Type.Elem().NumField() { // ban.prefix4
					inner := f.Type.Elem().Field(j)
					out = append(out, refField{t.file, t.name, key + "." + inner.Tag.Get("toml"), inner.Type})
				}
				continue
			}
			out = append(out, refField{t.file, t.name, key, f.Type})
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
	words := map[[3]string]*keyWords{}
	for _, t := range referenceTables {
		for i := range t.keys {
			words[[3]string{t.file, t.table, t.keys[i].name}] = &t.keys[i]
		}
	}
	defaults := referenceDefaults()
	var out []Key
	for _, f := range refFields() {
		w := words[[3]string{f.file, f.table, f.name}]
		if w == nil {
			w = &keyWords{} // the test finds it
		}
		k := Key{
			File: f.file, Table: f.table, Name: f.name, Type: refType(f.of, w), Values: w.values,
			Default: cmp.Or(defaults[strings.TrimPrefix(f.table+"."+f.name, ".")], w.def), Example: w.example, Text: w.text,
		}
		if f.file == FilterFile {
			k.Default = w.def
		}
		if k.Type == typeTime {
			k.Unit = "seconds"
		}
		out = append(out, k)
	}
	for _, t := range referenceTables {
		if w := t.keys[0]; openKeys(w.name) {
			out = append(out, Key{File: t.file, Table: t.table, Name: w.name, Type: typeText, Example: w.example, Text: w.text})
		}
	}
	at := func(k Key) int {
		return slices.IndexFunc(refTables, func(t refTable) bool { return t.file == k.File && t.name == k.Table })
	}
	slices.SortStableFunc(out, func(a, b Key) int { return cmp.Compare(at(a), at(b)) })
	return out
}

// openKeys reports whether a table's keys are anybody's names: a filter's prefixes, fields
// of a log.
func openKeys(name string) bool { return name == "NAME" || name == "FIELD" }

// referenceDefaults is what holds where no file says anything, as Load resolves it.
func referenceDefaults() map[string]string {
	out := map[string]string{}
	for key, value := range jailDefaults {
		out["jail.NAME."+key] = value
	}
	cfg := newConfig()
	out["loglevel"], out["logtarget"], out["socket"] = cfg.Log.Level, cfg.Log.Target, cfg.Socket
	out["database.path"] = defaultStateDir + "/" + databaseName
	out["database.purgeage"] = spell(cfg.Database.PurgeAge)
	out["database.maxmatches"] = fmt.Sprint(cfg.Database.MaxMatches)
	return out
}

// spell writes a time as files have it.
func spell(d time.Duration) string {
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
		typeText: "a text", typeValue: "a text or a number", typeTexts: "a text or a list of them", typeNumber: "a number", typeBoolean: "true or false",
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

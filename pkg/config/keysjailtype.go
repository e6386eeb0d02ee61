package config

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// jailKey is a key of a jail and all that is said of it: keysjail.go has them. T is what its value is
// decoded into.
type jailKey[T any] struct {
	keyWords
	// standard holds where no file says anything.
	standard T
}

// jailEntry is a key of a jail whatever its type is.
type jailEntry struct {
	keyWords
	of reflect.Type
	// without is what holds where no file says anything, as a file would write it.
	without string
}

// jailKeys are all of them, in their order. declare fills it before main, and nobody changes it then.
var jailKeys []*jailEntry

// declare takes a key into the table.
func declare[T any](k jailKey[T]) *jailKey[T] {
	e := &jailEntry{keyWords: k.keyWords, of: reflect.TypeFor[T]()}
	if v := reflect.ValueOf(&k.standard); !v.Elem().IsZero() || e.of.Kind() == reflect.Bool {
		e.without = settingText(v.Interface())
	}
	jailKeys = append(jailKeys, e)
	return &k
}

// of is what a file says of the key; nil: nothing.
func (k *jailKey[T]) of(j *rawJail) *T {
	v, _ := j.values[k.name].(*T)
	return v
}

// set says it for a file.
func (k *jailKey[T]) set(j *rawJail, v T) { j.put(k.name, &v) }

// reference is the key as manuals explain it.
func (e *jailEntry) reference() Key {
	k := Key{
		File: MainFile, Table: jailTable.name, Name: e.name, Type: refType(e.of, &e.keyWords),
		Values: e.values, Default: cmp.Or(e.def, e.without), Example: e.example, Text: e.text,
	}
	if k.Type == typeTime {
		k.Unit = "seconds"
	}
	return k
}

// group is the table within a jail's in which the key stands, and its name there; empty: it stands in
// the jail's. ban.prefix4 is in one, bantime.factor is one word, in quotes.
func (w *keyWords) group() (table, name string) {
	if table, name, ok := strings.Cut(w.name, "."); ok && table != "bantime" {
		return table, name
	}
	return "", w.name
}

// rawJail is a jail as one file says it.
type rawJail struct {
	// values are pointers to what was decoded, by the names of keys; the file leaves open what isn't
	// there.
	values map[string]any
	action map[string]rawAction
}

func (j *rawJail) put(key string, v any) {
	if j.values == nil {
		j.values = map[string]any{}
	}
	j.values[key] = v
}

// says reports whether the file has a key.
func (j *rawJail) says(key string) bool {
	_, ok := j.values[key]
	return ok
}

// jailTables are the keys by the table in which they stand, and the sorted names of what a table
// holds; "" is the jail's own.
var jailTables = sync.OnceValue(func() map[string]jailKeysOf {
	out := map[string]jailKeysOf{"": {by: map[string]*jailEntry{}, names: []string{"action"}}}
	for _, k := range jailKeys {
		table, name := k.group()
		of, ok := out[table]
		if !ok {
			of.by = map[string]*jailEntry{}
			top := out[""]
			top.names = append(top.names, table)
			out[""] = top
		}
		of.by[name], of.names = k, append(of.names, name)
		out[table] = of
	}
	for _, of := range out {
		slices.Sort(of.names)
	}
	return out
})

type jailKeysOf struct {
	by    map[string]*jailEntry
	names []string
}

// ofJails reports whether a jail's table has a key of that name.
func ofJails(name string) bool {
	_, ok := slices.BinarySearch(jailTables()[""].names, name)
	return ok
}

// decodeTable fills a jail from a table of TOML. What is wrong costs itself alone.
func (j *rawJail) decodeTable(d *decoder, path []string, v any) bool { return j.decode(d, "", path, v) }

func (j *rawJail) decode(d *decoder, table string, path []string, v any) bool {
	keys := jailTables()[table]
	return d.table(path, v, keys.names, func(name string, at []string, v any) bool {
		k, ok := keys.by[name]
		switch {
		case !ok && name == "action":
			return d.value(at, v, reflect.ValueOf(&j.action).Elem())
		case !ok:
			return j.decode(d, name, at, v)
		}
		x := reflect.New(k.of)
		if !d.value(at, v, x.Elem()) {
			return false
		}
		j.put(k.name, x.Interface())
		return true
	})
}

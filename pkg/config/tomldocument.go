package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/BurntSushi/toml"
)

// document is a TOML file that was parsed, with the places of its keys. It is decoded a
// table at a time, in the order of the file, and value by value: what is wrong with one
// costs no other, and the outcome is always the same.
type document struct {
	file  string
	text  string
	table map[string]any
	at    map[string]place
}

// mistake is a key that is unknown, or whose value is none of its.
type mistake struct {
	key     []string // from the table on that was decoded
	unknown bool
	err     *Error
}

// stockDocuments are those that the program carries, by their names: they don't change.
var stockDocuments sync.Map

// readDocument is parseDocument, once for what the program carries.
func readDocument(file string, data []byte) (*document, error) {
	if !strings.HasPrefix(file, stockPrefix) {
		return parseDocument(file, data)
	}
	if d, ok := stockDocuments.Load(file); ok {
		return d.(*document), nil
	}
	d, err := parseDocument(file, data)
	if err == nil {
		stockDocuments.Store(file, d)
	}
	return d, err
}

// ForgetStock forgets what was read of the files that the program carries: they take memory,
// and are read again when they are asked for.
func ForgetStock() { stockDocuments.Clear() }

// parseDocument parses a file. The error is an *Error.
func parseDocument(file string, data []byte) (d *document, err error) {
	defer func() {
		if r := recover(); r != nil { // a file is never worth more than itself
			d, err = nil, &Error{file, 0, fmt.Sprintf("can't be read as TOML: %v", r)}
		}
	}()
	d = &document{file: file, text: string(data), table: map[string]any{}}
	if _, err := toml.Decode(d.text, &d.table); err != nil {
		var pe toml.ParseError
		if !errors.As(err, &pe) {
			return nil, &Error{file, 0, strings.TrimPrefix(err.Error(), "toml: ")}
		}
		// A line that ends too early is not the next one's fault.
		line := 1 + strings.Count(d.text[:max(0, min(pe.Position.Start, len(d.text)))], "\n")
		if line = min(line, max(pe.Position.Line, 1)); strings.Contains(pe.Message, `but got '\n'`) && line == pe.Position.Line && line > 1 {
			line--
		}
		msg := cmp.Or(pe.Message, pe.Error())
		last := pe.LastKey[strings.LastIndexByte(pe.LastKey, '.')+1:]
		if text := strings.Split(d.text, "\n"); last != "" && line <= len(text) && strings.Contains(text[line-1], last) && !strings.Contains(msg, last) {
			msg = last + ": " + msg
		}
		return nil, &Error{file, line, msg}
	}
	d.at = places(d.text)
	return d, nil
}

// line returns where a key stands, or the nearest table around it; 0: nowhere.
func (d *document) line(path ...string) int {
	for ; len(path) > 0; path = path[:len(path)-1] {
		if p, ok := d.at[pathKey(path)]; ok {
			return p.line
		}
	}
	return 0
}

// holds reports whether a key is there.
func (d *document) holds(path ...string) bool {
	_, ok := d.at[pathKey(path)]
	return ok
}

// inOrder are the keys of a table as they stand in the file.
func (d *document) inOrder(path []string, table map[string]any) []string {
	type placed struct {
		key   string
		order int
	}
	list := make([]placed, 0, len(table))
	at := append(slices.Clone(path), "")
	for k := range table {
		at[len(path)] = k
		list = append(list, placed{k, d.at[pathKey(at)].order})
	}
	slices.SortFunc(list, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.key, b.key))
	})
	keys := make([]string, len(list))
	for i := range list {
		keys[i] = list[i].key
	}
	return keys
}

// get returns a value of the file, or nil.
func (d *document) get(path ...string) any {
	var v any = d.table
	for _, k := range path {
		t, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = t[k]
	}
	return v
}

// decode fills a struct with the table at a path. What is not there, or wrong, stays as
// it is.
func (d *document) decode(into any, path ...string) []mistake {
	v := d.get(path...)
	if v == nil {
		return nil
	}
	dec := &decoder{doc: d, from: len(path)}
	dec.value(path, v, reflect.ValueOf(into).Elem())
	return dec.mistakes
}

type decoder struct {
	doc      *document
	from     int // of a path, what is not told
	mistakes []mistake
}

func (d *decoder) fail(path []string, unknown bool, format string, args ...any) bool {
	d.mistakes = append(d.mistakes, mistake{
		slices.Clone(path[min(d.from, len(path)):]), unknown,
		&Error{d.doc.file, d.doc.line(path...), fmt.Sprintf(format, args...)},
	})
	return false
}

// wrong tells of a value of another type than its key has.
func (d *decoder) wrong(path []string, v any, want string) bool {
	return d.fail(path, false, "%s: want %s, not %s", toml.Key(path[min(d.from, len(path)-1):]).String(), want, described(v))
}

type fromTOML interface{ UnmarshalTOML(any) error }

// fromTable decodes itself from a table.
type fromTable interface {
	decodeTable(d *decoder, path []string, v any) bool
}

// value decodes one value, and reports whether it could.
func (d *decoder) value(path []string, v any, rv reflect.Value) bool {
	if u, ok := rv.Addr().Interface().(fromTOML); ok {
		if err := u.UnmarshalTOML(v); err != nil {
			rv.SetZero()
			if item := (*itemError)(nil); errors.As(err, &item) {
				d.mistakes = append(d.mistakes, mistake{
					slices.Clone(path[min(d.from, len(path)):]), false,
					&Error{d.doc.file, d.doc.line(slices.Concat(path, item.path)...), fmt.Sprintf("%s: %v", toml.Key(path[min(d.from, len(path)-1):]).String(), err)},
				})
				return false
			}
			return d.fail(path, false, "%s: %v", toml.Key(path[min(d.from, len(path)-1):]).String(), err)
		}
		return true
	}
	switch rv.Kind() {
	case reflect.Pointer:
		x := reflect.New(rv.Type().Elem())
		ok := d.value(path, v, x.Elem())
		if ok || x.Elem().Kind() == reflect.Struct { // of a table, what is right
			rv.Set(x)
		}
		return ok
	case reflect.Interface:
		rv.Set(reflect.ValueOf(v))
		return true
	case reflect.Struct:
		if t, ok := rv.Addr().Interface().(fromTable); ok {
			return t.decodeTable(d, path, v)
		}
		return d.structure(path, v, rv)
	case reflect.Map:
		t, ok := v.(map[string]any)
		if !ok {
			if path[len(path)-1] == "action" {
				return d.wrong(path, v, "a table for each, [jail.NAME.action.ANY] with ban = \"COMMAND\" or unban (no action of fail2ban's by its name)")
			}
			return d.wrong(path, v, "a table")
		}
		rv.Set(reflect.MakeMap(rv.Type()))
		for _, k := range d.doc.inOrder(path, t) {
			x := reflect.New(rv.Type().Elem()).Elem()
			if d.value(append(slices.Clone(path), k), t[k], x) {
				rv.SetMapIndex(reflect.ValueOf(k), x)
			}
		}
		return true
	case reflect.Slice:
		list, ok := listOf(v)
		if !ok {
			return d.wrong(path, v, "an array")
		}
		rv.Set(reflect.MakeSlice(rv.Type(), len(list), len(list)))
		for i, x := range list {
			ok = d.value(append(slices.Clone(path), strconv.Itoa(i)), x, rv.Index(i)) && ok
		}
		return ok
	case reflect.String:
		s, ok := v.(string)
		if !ok {
			return d.wrong(path, v, "a string")
		}
		rv.SetString(s)
	case reflect.Bool:
		b, ok := v.(bool)
		if !ok {
			return d.wrong(path, v, "true or false")
		}
		rv.SetBool(b)
	case reflect.Int:
		n, ok := v.(int64)
		if !ok || int64(int(n)) != n {
			return d.wrong(path, v, "a whole number")
		}
		rv.SetInt(n)
	default:
		panic(fmt.Sprintf("config: no values of TOML for %v", rv.Type()))
	}
	return true
}

// structKeys are the keys of a struct.
type structKeys struct {
	fields map[string]int // by key
	known  []string       // sorted
}

var keysByType sync.Map // reflect.Type to *structKeys

func keysOf(t reflect.Type) *structKeys {
	if k, ok := keysByType.Load(t); ok {
		return k.(*structKeys)
	}
	k := &structKeys{fields: map[string]int{}}
	for i := range t.NumField() {
		k.fields[t.Field(i).Tag.Get("toml")] = i
	}
	k.known = sortedKeys(k.fields)
	keysByType.Store(t, k)
	return k
}

func (d *decoder) structure(path []string, v any, rv reflect.Value) bool {
	of := keysOf(rv.Type())
	return d.table(path, v, of.known, func(key string, at []string, v any) bool {
		return d.value(at, v, rv.Field(of.fields[key]))
	})
}

// table decodes a table value by value, as each does it. known are its keys, sorted.
func (d *decoder) table(path []string, v any, known []string, each func(key string, at []string, v any) bool) bool {
	t, ok := v.(map[string]any)
	if !ok {
		return d.wrong(path, v, "a table")
	}
	good := true
	seen := map[string]string{}
	for _, k := range d.doc.inOrder(path, t) {
		at := append(slices.Clone(path), k)
		key := k
		_, ok := slices.BinarySearch(known, k)
		if !ok { // the case of letters does not count
			if n := slices.IndexFunc(known, func(f string) bool { return strings.EqualFold(f, k) }); n >= 0 {
				key, ok = known[n], true
			}
		}
		switch other, twice := seen[key]; {
		case !ok:
			d.fail(at, true, "unknown key %q%s", toml.Key(at).String(), closest(k, known))
		case twice:
			d.fail(at, true, "%q and %q are the same key", other, k)
		default:
			seen[key] = k
			good = each(key, at, t[k]) && good
		}
	}
	return good
}

// listOf returns an array's values; tables are one, too.
func listOf(v any) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case []map[string]any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = v[i]
		}
		return out, true
	}
	return nil, false
}

// described returns a value as a person would say it.
func described(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%.40q", v)
	case float64:
		return number(v)
	case map[string]any:
		return "a table"
	case []any, []map[string]any:
		return "an array"
	case time.Time:
		return "a date"
	}
	return fmt.Sprint(v)
}

// number writes a number without an exponent.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// places are those of the keys of some tables, as [Config.Place] returns them, by TABLE.KEY.
func (d *document) places(tables ...string) map[string]string {
	out := map[string]string{}
	for _, table := range tables {
		keys, _ := d.get(table).(map[string]any)
		for key := range keys {
			out[table+"."+key] = fmt.Sprintf("%s:%d: ", d.file, d.line(table, key))
		}
	}
	return out
}

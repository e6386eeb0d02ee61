package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// wrongType is how the decoder says that a value has another type than its key.
var wrongType = regexp.MustCompile(`^toml: line (\d+) \(last key "(.*?)"\): (.*)`)

// decode reads TOML into v. Mistakes of syntax and type, and keys that v does
// not have, come back with the file's name and their line.
func decode(file string, data []byte, v any) []error {
	meta, err := toml.Decode(string(data), v)
	if err != nil {
		var pe toml.ParseError
		if errors.As(err, &pe) {
			msg := pe.Message
			if msg == "" {
				msg = pe.Error()
			}
			if pe.LastKey != "" && !strings.Contains(msg, pe.LastKey) {
				msg = pe.LastKey + ": " + msg
			}
			return []error{&Error{file, pe.Position.Line, msg}}
		}
		if m := wrongType.FindStringSubmatch(err.Error()); m != nil {
			line, _ := strconv.Atoi(m[1])
			return []error{&Error{file, line, m[2] + ": " + m[3]}}
		}
		return []error{&Error{file, 0, strings.TrimPrefix(err.Error(), "toml: ")}}
	}
	var errs []error
	for _, key := range meta.Undecoded() {
		if len(key) > 1 && undecodedParent(meta, key) {
			continue // its table is reported already
		}
		errs = append(errs, &Error{file, lineOf(string(data), key), fmt.Sprintf("unknown key %q%s", key.String(), closest(key[len(key)-1], keysOf(reflect.TypeOf(v), nil)))})
	}
	return errs
}

// keysOf lists the keys that a type has, at any depth.
func keysOf(t reflect.Type, keys []string) []string {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return keysOf(t.Elem(), keys)
	case reflect.Struct:
		for i := range t.NumField() {
			if tag := t.Field(i).Tag.Get("toml"); tag != "" {
				keys = keysOf(t.Field(i).Type, append(keys, tag))
			}
		}
	}
	return keys
}

func undecodedParent(meta toml.MetaData, key toml.Key) bool {
	for _, other := range meta.Undecoded() {
		if len(other) < len(key) && strings.HasPrefix(key.String(), other.String()+".") {
			return true
		}
	}
	return false
}

// lineOf finds where a key stands: the decoder keeps no lines for those that
// nobody asked for.
func lineOf(text string, key toml.Key) int {
	last := key[len(key)-1]
	table := strings.Join(key[:len(key)-1], ".")
	current, fence := "", ""
	for i, line := range strings.Split(text, "\n") {
		s := strings.TrimSpace(line)
		if fence != "" {
			if strings.Contains(s, fence) {
				fence = ""
			}
			continue
		}
		if strings.HasPrefix(s, "[") && !strings.Contains(s, "=") {
			current = strings.Trim(strings.TrimSpace(strings.SplitN(s, "#", 2)[0]), "[] \t")
			current = strings.NewReplacer(`"`, "", `'`, "", " ", "").Replace(current)
			if current == key.String() {
				return i + 1
			}
			continue
		}
		name, value, ok := strings.Cut(s, "=")
		name = strings.Trim(strings.TrimSpace(name), `"'`)
		if ok && (name == last && current == table || current+"."+name == key.String() || name == key.String()) {
			return i + 1
		}
		for _, f := range []string{"'''", `"""`} {
			if strings.Count(value, f)%2 == 1 {
				fence = f
			}
		}
	}
	return 0
}

// stringList is a string or an array of strings.
type stringList []string

// UnmarshalTOML implements toml.Unmarshaler.
func (l *stringList) UnmarshalTOML(v any) error {
	switch v := v.(type) {
	case string:
		*l = stringList{v}
	case int64:
		*l = stringList{fmt.Sprint(v)}
	case []any:
		*l = stringList{}
		for _, x := range v {
			switch x := x.(type) {
			case string:
				*l = append(*l, x)
			case int64:
				*l = append(*l, fmt.Sprint(x))
			default:
				return fmt.Errorf("want strings, not %v", x)
			}
		}
	default:
		return fmt.Errorf("want a string or an array of strings, not %v", v)
	}
	return nil
}

// text is a string, or a number as it stands: bantime = 600, priority = -1.
type text string

// UnmarshalTOML implements toml.Unmarshaler.
func (t *text) UnmarshalTOML(v any) error {
	switch v := v.(type) {
	case string:
		*t = text(v)
	case int64, float64:
		*t = text(fmt.Sprint(v))
	case map[string]any:
		for key := range v {
			return fmt.Errorf("want a string or a number; write a key like bantime.%s in quotes: \"bantime.%s\" = …", key, key)
		}
	default:
		return fmt.Errorf("want a string or a number, not %v", v)
	}
	return nil
}

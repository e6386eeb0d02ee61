package config

import "fmt"

// Types of values that can be written in more than one way.

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
				return fmt.Errorf("want strings, not %s", described(x))
			}
		}
	default:
		return fmt.Errorf("want a string or an array of strings, not %s", described(v))
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
	case int64:
		*t = text(fmt.Sprint(v))
	case float64:
		*t = text(number(v))
	case map[string]any:
		for _, key := range sortedKeys(v) {
			return fmt.Errorf("want a string or a number; write a key like bantime.%s in quotes: \"bantime.%s\" = …", key, key)
		}
		return fmt.Errorf("want a string or a number, not a table")
	default:
		return fmt.Errorf("want a string or a number, not %s", described(v))
	}
	return nil
}

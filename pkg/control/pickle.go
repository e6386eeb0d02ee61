package control

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// List is a Python list, Tuple a tuple, Dict a dict with strings as keys, in the
// order given.
type (
	List  []any
	Tuple []any
)

// Dict is a Python dict of few entries.
type Dict struct {
	Keys   []string
	Values map[string]any
}

// Exception is an error as fail2ban's clients expect it.
type Exception struct {
	Module string // empty: Python's own
	Class  string
	Args   []any
}

func (e *Exception) Error() string {
	if len(e.Args) == 1 {
		if s, ok := e.Args[0].(string); ok {
			return s
		}
	}
	return fmt.Sprint(e.Args...)
}

// EncodeAnswer pickles an answer, (0, v) or (1, exception), in protocol 3: the oldest
// that every Python 3 reads as str.
func EncodeAnswer(v any, err error) ([]byte, error) {
	out := []byte{0x80, 3}
	if err == nil {
		out, err := appendPickle(append(out, 'K', 0), v)
		return append(out, 0x86, '.'), err
	}
	var e *Exception
	if !errors.As(err, &e) {
		e = &Exception{Class: "Exception", Args: []any{err.Error()}}
	}
	module := e.Module
	if module == "" {
		module = "builtins"
	}
	out = append(out, 'K', 1, 'c')
	out = append(out, module+"\n"+e.Class+"\n"...)
	out, err = appendPickle(out, Tuple(e.Args))
	return append(out, 'R', 0x86, '.'), err
}

// encodeCommand pickles a client's command.
func encodeCommand(args []any) ([]byte, error) {
	out, err := appendPickle([]byte{0x80, 3}, List(args))
	return append(out, '.'), err
}

// appendPickle appends the instructions that make a value.
func appendPickle(b []byte, v any) ([]byte, error) {
	var err error
	all := func(items []any) error {
		for _, x := range items {
			if b, err = appendPickle(b, x); err != nil {
				return err
			}
		}
		return nil
	}
	switch v := v.(type) {
	case nil:
		return append(b, 'N'), nil
	case bool:
		if v {
			return append(b, 0x88), nil
		}
		return append(b, 0x89), nil
	case int:
		return appendInt(b, int64(v)), nil
	case int64:
		return appendInt(b, v), nil
	case float64:
		return binary.BigEndian.AppendUint64(append(b, 'G'), math.Float64bits(v)), nil
	case string:
		return appendText(b, v), nil
	case List:
		b = append(b, ']', '(')
		err = all(v)
		return append(b, 'e'), err
	case []string:
		b = append(b, ']', '(')
		for _, s := range v {
			b = appendText(b, s)
		}
		return append(b, 'e'), nil
	case Tuple:
		b = append(b, '(')
		err = all(v)
		return append(b, 't'), err
	case Dict:
		b = append(b, '}', '(')
		for _, k := range v.Keys {
			b = appendText(b, k)
			if b, err = appendPickle(b, v.Values[k]); err != nil {
				return b, err
			}
		}
		return append(b, 'u'), nil
	}
	return b, fmt.Errorf("a %T is no answer", v)
}

func appendInt(b []byte, n int64) []byte {
	switch {
	case n >= 0 && n < 1<<8:
		return append(b, 'K', byte(n))
	case n >= math.MinInt32 && n <= math.MaxInt32:
		return binary.LittleEndian.AppendUint32(append(b, 'J'), uint32(n))
	}
	return binary.LittleEndian.AppendUint64(append(b, 0x8a, 8), uint64(n)) // LONG1
}

// appendText writes a str. Bytes of a log line that are no UTF-8 are no str either.
func appendText(b []byte, s string) []byte {
	s = strings.ToValidUTF8(s, "\uFFFD")
	b = binary.LittleEndian.AppendUint32(append(b, 'X'), uint32(len(s)))
	return append(b, s...)
}

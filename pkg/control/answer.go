package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// What a server answers is a pickle, too, and holds more than a request: dictionaries,
// whose order is to be kept, and objects. Those are exceptions, addresses (as a call of
// str) and files of addresses; no class that an answer names is ever made or called: what
// it is and what it holds is all that is taken.

// mostAnswer bounds what an answer may come to when values in it are there many times.
const mostAnswer = 10_000_000

// mostAnswerText is how many bytes more than it has itself an answer's texts may come to:
// one that is named again costs a byte or two, and is written out each time.
const mostAnswerText = 16 << 20

var errDeep = errors.New("the answer is too deep or too large")

type (
	answerList  struct{ items []any }
	answerDict  struct{ keys, values []any }
	answerClass struct{ module, name string }
	answerCall  struct {
		class answerClass
		args  any
		state any
	}
)

// answerReader carries out the pickle of an answer. What makes one value of bytes is done
// as in a request.
type answerReader struct {
	u     unpickler
	stack []any
	marks []int
	memo  map[uint64]any
	made  int
	texts int // bytes of texts that may still come
}

// decodeAnswer returns what a server says; an error of the server's is an *Exception.
func decodeAnswer(data []byte) (any, error) {
	r := &answerReader{memo: map[uint64]any{}, texts: len(data) + mostAnswerText}
	r.u.in, r.u.limits = bytes.NewReader(data), &limits{bytes: len(data), items: len(data)}
	top, err := r.read()
	if err != nil {
		return nil, fmt.Errorf("pickle: %w", err)
	}
	pair, ok := top.(Tuple)
	if list, is := top.(*answerList); is {
		pair, ok = list.items, true
	}
	if !ok || len(pair) != 2 {
		return nil, errors.New("the answer is no pair")
	}
	value, err := r.value(pair[1], 0)
	if err != nil {
		return nil, err
	}
	if code, _ := pair[0].(int); code == 0 {
		return value, nil
	}
	if e, ok := value.(*Exception); ok {
		return nil, e
	}
	return nil, &Exception{Class: "Exception", Args: []any{value}}
}

func (r *answerReader) read() (any, error) {
	for {
		op, err := r.u.byte()
		if err != nil {
			return nil, err
		}
		if op == '.' {
			return r.pop()
		}
		if err := r.step(op); err != nil {
			return nil, err
		}
	}
}

func (r *answerReader) push(v any) error {
	r.stack = append(r.stack, v)
	return nil
}

func (r *answerReader) pop() (any, error) {
	n := len(r.stack)
	if n == 0 || len(r.marks) > 0 && n <= r.marks[len(r.marks)-1] {
		return nil, errStack
	}
	v := r.stack[n-1]
	r.stack = r.stack[:n-1]
	return v, nil
}

func (r *answerReader) toMark() ([]any, error) {
	n := len(r.marks)
	if n == 0 {
		return nil, errStack
	}
	at := r.marks[n-1]
	r.marks = r.marks[:n-1]
	items := append([]any(nil), r.stack[at:]...)
	r.stack = r.stack[:at]
	return items, nil
}

// last takes so many values off the stack, those behind the last mark if n is 0.
func (r *answerReader) last(n int) ([]any, error) {
	if n == 0 {
		return r.toMark()
	}
	items := make([]any, n)
	for i := n - 1; i >= 0; i-- {
		v, err := r.pop()
		if err != nil {
			return nil, err
		}
		items[i] = v
	}
	return items, nil
}

func (r *answerReader) step(op byte) error {
	switch op {
	case 0x80:
		_, err := r.u.byte()
		return err
	case 0x95:
		_, err := r.u.number(8)
		return err
	case '(':
		r.marks = append(r.marks, len(r.stack))
		return nil
	case '0':
		_, err := r.pop()
		return err
	case ']', 0x8f: // a list, a set
		return r.push(&answerList{})
	case '}':
		return r.push(&answerDict{})
	case ')':
		return r.push(Tuple{})
	case 'l', 't', 'd', 0x91:
		items, err := r.toMark()
		if err != nil {
			return err
		}
		switch op {
		case 't':
			return r.push(Tuple(items))
		case 'd':
			d := &answerDict{}
			return errors.Join(d.add(items), r.push(d))
		}
		return r.push(&answerList{items})
	case 0x85, 0x86, 0x87:
		items, err := r.last(int(op) - 0x84)
		if err != nil {
			return err
		}
		return r.push(Tuple(items))
	case 'a', 'e', 0x90, 's', 'u':
		return r.extend(op)
	case 'p', 'q', 'r', 0x94, 'g', 'h', 'j':
		return r.note(op)
	case 'c', 0x93, 'R', 0x81, 'b':
		return r.object(op)
	}
	r.u.stack = r.u.stack[:0]
	if err := r.u.carryOut(op); err != nil {
		return err
	}
	if len(r.u.stack) != 1 {
		return errStack
	}
	return r.push(r.u.stack[0].Value())
}

// extend adds to a list, a set or a dictionary.
func (r *answerReader) extend(op byte) error {
	n := map[byte]int{'a': 1, 's': 2}[op]
	items, err := r.last(n)
	if err != nil {
		return err
	}
	if len(r.stack) == 0 {
		return errStack
	}
	switch to := r.stack[len(r.stack)-1].(type) {
	case *answerList:
		to.items = append(to.items, items...)
		return nil
	case *answerDict:
		return to.add(items)
	}
	return errStack
}

func (d *answerDict) add(items []any) error {
	if len(items)%2 != 0 {
		return errStack
	}
	for i := 0; i < len(items); i += 2 {
		d.keys, d.values = append(d.keys, items[i]), append(d.values, items[i+1])
	}
	return nil
}

// note keeps what is on top of the stack, or takes what was kept.
func (r *answerReader) note(op byte) error {
	var at uint64
	var err error
	switch op {
	case 'q', 'h':
		at, err = r.u.number(1)
	case 'r', 'j':
		at, err = r.u.number(4)
	case 0x94:
		at = uint64(len(r.memo))
	default:
		var text []byte
		if text, err = r.u.line(10, errNote); err == nil {
			at, err = strconv.ParseUint(string(text), 10, 32)
		}
	}
	if err != nil {
		return errNote
	}
	if op == 'g' || op == 'h' || op == 'j' {
		v, ok := r.memo[at]
		if !ok {
			return errNote
		}
		return r.push(v)
	}
	if len(r.stack) == 0 {
		return errStack
	}
	r.memo[at] = r.stack[len(r.stack)-1]
	return nil
}

// object names a class, or tells what an object of one was made of.
func (r *answerReader) object(op byte) error {
	if op == 'c' {
		var names [2]string
		for i := range names {
			text, err := r.u.longLine()
			if err != nil {
				return err
			}
			names[i] = text
		}
		return r.push(answerClass{names[0], names[1]})
	}
	items, err := r.last(2)
	if err != nil {
		return err
	}
	if op == 0x93 {
		module, ok1 := items[0].(string)
		name, ok2 := items[1].(string)
		if !ok1 || !ok2 {
			return errStack
		}
		return r.push(answerClass{module, name})
	}
	switch of := items[0].(type) {
	case answerClass:
		if op == 'b' {
			return errStack
		}
		return r.push(&answerCall{class: of, args: items[1]})
	case *answerCall:
		if op == 'b' {
			of.state = items[1]
			return r.push(of)
		}
	}
	return errStack
}

// longLine is a text up to the end of its line.
func (u *unpickler) longLine() (string, error) {
	var out []byte
	for {
		b, err := u.byte()
		if err == io.EOF || err != nil {
			return "", err
		}
		if b == '\n' {
			return string(out), nil
		}
		out = append(out, b)
	}
}

// value takes over what was read.
func (r *answerReader) value(v any, depth int) (any, error) {
	if r.made++; depth > 100 || r.made > mostAnswer {
		return nil, errDeep
	}
	list := func(items []any) ([]any, error) {
		out := make([]any, len(items))
		for i, x := range items {
			var err error
			if out[i], err = r.value(x, depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	switch v := v.(type) {
	case *answerList:
		out, err := list(v.items)
		return List(out), err
	case Tuple:
		out, err := list(v)
		return Tuple(out), err
	case *answerDict:
		d := Dict{Values: map[string]any{}}
		for i, k := range v.keys {
			name, err := r.value(k, depth+1)
			if err != nil {
				return nil, err
			}
			value, err := r.value(v.values[i], depth+1)
			if err != nil {
				return nil, err
			}
			key, ok := name.(string)
			if !ok {
				key = Repr(name)
				if _, err := r.text(key); err != nil {
					return nil, err
				}
			}
			if _, again := d.Values[key]; !again {
				d.Keys = append(d.Keys, key)
			}
			d.Values[key] = value
		}
		return d, nil
	case answerClass:
		return r.text(v.name)
	case *answerCall:
		return r.called(v, depth)
	case string:
		return r.text(v)
	}
	return v, nil
}

// text takes account of a text.
func (r *answerReader) text(s string) (any, error) {
	if r.texts -= len(s); r.texts < 0 {
		return nil, errDeep
	}
	return s, nil
}

// called is what stands for an object.
func (r *answerReader) called(c *answerCall, depth int) (any, error) {
	given, err := r.value(c.args, depth+1)
	if err != nil {
		return nil, err
	}
	args, _ := given.(Tuple)
	switch c.class.name {
	case "str", "unicode":
		if len(args) == 1 {
			if s, ok := args[0].(string); ok {
				return s, nil
			}
			return r.text(Repr(args[0])) // which quotes what was quoted: twice as long each time
		}
	case "list", "set", "frozenset", "IPAddrSet":
		if len(args) == 1 {
			return args[0], nil
		}
	case "FileIPAddrSet": // addresses in a file
		state, err := r.value(c.state, depth+1)
		if err != nil {
			return nil, err
		}
		if d, ok := state.(Dict); ok {
			if name, ok := d.Values["fileName"].(string); ok {
				if strings.HasPrefix(name, "/") {
					name = "/" + name
				}
				return "file:" + name, nil
			}
		}
	}
	return &Exception{Module: c.class.module, Class: c.class.name, Args: args}, nil
}

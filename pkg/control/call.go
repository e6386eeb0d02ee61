package control

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"

	pickle "github.com/kisielk/og-rek"
)

// Call sends commands of fail2ban's to a server and returns its answers, on one
// connection.
type Call struct {
	conn net.Conn
	buf  []byte
}

// DialFail2ban connects to a server's socket.
func DialFail2ban(path string, timeout time.Duration) (*Call, error) {
	c, err := net.DialTimeout("unix", path, timeout)
	if err != nil {
		return nil, err
	}
	return &Call{conn: c}, nil
}

// Close ends the connection as fail2ban's client does.
func (c *Call) Close() error {
	_, _ = c.conn.Write(append(bytes.Clone(closeCommand), endCommand...))
	return c.conn.Close()
}

// Do sends one command. An *Exception is the server's error.
func (c *Call) Do(args []any, timeout time.Duration) (any, error) {
	out, err := encodeCommand(args)
	if err != nil {
		return nil, err
	}
	if timeout > 0 {
		_ = c.conn.SetDeadline(time.Now().Add(timeout))
	}
	if _, err := c.conn.Write(append(out, endCommand...)); err != nil {
		return nil, err
	}
	chunk := make([]byte, 64<<10)
	for looked := 0; ; {
		if i := bytes.Index(c.buf[looked:], endCommand); i >= 0 {
			answer := c.buf[:looked+i]
			c.buf = c.buf[looked+i+len(endCommand):]
			return decodeAnswer(answer)
		}
		looked = max(0, len(c.buf)-len(endCommand))
		n, err := c.conn.Read(chunk)
		c.buf = append(c.buf, chunk[:n]...)
		if err != nil && n == 0 {
			return nil, err
		}
	}
}

func decodeAnswer(data []byte) (v any, err error) {
	// The library is a good one; an answer is still nothing to die of.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("pickle: %v", r)
		}
	}()
	d := pickle.NewDecoderWithConfig(bytes.NewReader(data), &pickle.DecoderConfig{
		StrictUnicode:  true,
		PersistentLoad: func(pickle.Ref) (any, error) { return nil, errors.New("a persistent reference is no data") },
	})
	if v, err = d.Decode(); err != nil {
		return nil, fmt.Errorf("pickle: %w", err)
	}
	pair, ok := v.(pickle.Tuple)
	if !ok || len(pair) != 2 {
		return nil, errors.New("the answer is no pair")
	}
	value := fromAnswer(pair[1])
	if code, _ := pair[0].(int64); code == 0 {
		return value, nil
	}
	if e, ok := value.(*Exception); ok {
		return nil, e
	}
	return nil, &Exception{Class: "Exception", Args: []any{value}}
}

// fromAnswer takes over what a server says. Of the classes that it may name, str
// is its text, and the others are exceptions; none is ever called.
func fromAnswer(v any) any {
	list := func(items []any) []any {
		out := make([]any, len(items))
		for i, x := range items {
			out[i] = fromAnswer(x)
		}
		return out
	}
	switch v := v.(type) {
	case pickle.None:
		return nil
	case int64:
		return int(v)
	case pickle.ByteString:
		return string(v)
	case pickle.Bytes:
		return string(v)
	case *big.Int:
		return v.String()
	case []any:
		return List(list(v))
	case pickle.Tuple:
		return Tuple(list(v))
	case map[any]any:
		d := Dict{Values: map[string]any{}}
		for k, x := range v {
			key := fmt.Sprint(fromAnswer(k))
			d.Keys = append(d.Keys, key)
			d.Values[key] = fromAnswer(x)
		}
		return d
	case pickle.Call:
		args := list(v.Args)
		if v.Callable.Name == "str" && len(args) == 1 {
			return fmt.Sprint(args[0])
		}
		return &Exception{Module: v.Callable.Module, Class: v.Callable.Name, Args: args}
	}
	return v
}

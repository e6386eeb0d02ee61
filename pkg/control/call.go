package control

import (
	"bytes"
	"fmt"
	"net"
	"time"
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

// longestAnswer is how many bytes of an answer are read: more than ours ever sends.
const longestAnswer = 64 << 20

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
		if c.buf = append(c.buf, chunk[:n]...); len(c.buf) > longestAnswer {
			return nil, fmt.Errorf("the server's answer is longer than %d MiB", longestAnswer>>20)
		}
		if err != nil && n == 0 {
			return nil, err
		}
	}
}

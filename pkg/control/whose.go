package control

import (
	"errors"
	"fmt"
	"time"
)

// Who sits at a socket: fail2ban's own server waits for the end of a request in its own
// protocol, and says nothing to one of HTTP.

// whoseAfter is how long an answer is waited for before it is looked who is there.
const whoseAfter = time.Second

// ofFail2ban reports whether fail2ban's own server answers on a socket. It doesn't know the
// command by which ours tells that it is ours.
func ofFail2ban(socket string) bool {
	c, err := DialFail2ban(socket, asksFor)
	if err != nil {
		return false
	}
	defer c.Close()
	_, err = c.Do([]any{"bailiff"}, asksFor)
	var e *Exception
	return errors.As(err, &e)
}

// Fail2banError says that it is fail2ban's own server that answers on a socket.
type Fail2banError struct{ Socket string }

func (e *Fail2banError) Error() string {
	return fmt.Sprintf("at %s is fail2ban's own server, not bailiff: ask it by fail2ban-client, or name the --socket of a bailiff", e.Socket)
}

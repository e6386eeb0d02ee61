package cli

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/control"
	"bailiff/pkg/source"
)

// How a command goes to the server, and what is said of its answer.

// answerMost is how long a command is waited for. Ours answers within 15 seconds, whatever
// hangs; fail2ban's may take its time for a reload with many bans.
const answerMost = 2 * time.Minute

// pingTime reads how long ping waits for an answer, in seconds, with Python's words for
// what is none. With 0, the answer has to be there at once.
func pingTime(text string) (limit time.Duration, wrong string) {
	s, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange) || strings.ContainsAny(text, "xXpP_"):
		return 0, "could not convert string to float: " + control.ReprString(text)
	case s != s:
		return 0, "Invalid value NaN (not a number)"
	case s < 0:
		return 0, "Timeout value out of range"
	}
	return time.Duration(min(max(s*float64(time.Second), 1), float64(answerMost))), ""
}

// send sends a command and prints the answer.
func (o *clientOptions) send(args []any, show bool) bool {
	limit := answerMost
	if args[0] == "ping" && len(args) > 1 {
		given, wrong := pingTime(fmt.Sprint(args[1]))
		if wrong != "" {
			o.complain("%s", wrong)
			return false
		}
		limit, args = given, args[:1]
	}
	c, err := control.DialFail2ban(o.socket, o.wait())
	if err != nil {
		o.unreachable(err, args[0] == "ping")
		return false
	}
	defer c.Close()
	v, err := c.Do(args, limit)
	var e *control.Exception
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		o.complain("timed out")
		if limit == answerMost {
			o.complain("The server has not answered for %v; its log says what it waits for", limit)
		}
		return false
	case errors.As(err, &e):
		o.complain("NOK: %s", control.Repr(control.Tuple(e.Args[:min(len(e.Args), 2)])))
		fmt.Fprintln(o.out, errorText(e))
		return false
	case err != nil:
		o.complain("%v", err)
		return false
	}
	if show {
		words := make([]string, len(args))
		for i, a := range args {
			words[i] = fmt.Sprint(a)
		}
		fmt.Fprintln(o.out, beautify(words, v))
	}
	return true
}

func (o *clientOptions) unreachable(err error, ping bool) {
	if _, statErr := os.Lstat(o.socket); statErr != nil {
		o.complain("Failed to access socket path: %s. Is fail2ban running?", o.socket)
		return
	}
	if errors.Is(err, os.ErrPermission) {
		o.complain("Permission denied to socket: %s, (you must be root)", o.socket)
		return
	}
	var errno syscall.Errno
	text := err.Error()
	if errors.As(err, &errno) {
		text = fmt.Sprintf("[Errno %d] %s", int(errno), strings.ToUpper(errno.Error()[:1])+errno.Error()[1:])
	}
	if ping {
		o.complain("%s", text)
		return
	}
	o.complain("[%s] Unable to contact server. Is it running?", text)
}

// interact reads commands line by line.
func (o *clientOptions) interact() int {
	in := bufio.NewScanner(o.stdin)
	ok := true
	fmt.Fprintf(o.out, "Fail2Ban v%s reads log file that contains password failure report\nand bans the corresponding IP addresses using firewall rules.\n\n", fail2ban.Version)
	for {
		fmt.Fprint(o.out, "fail2ban> ")
		if !in.Scan() {
			fmt.Fprintln(o.out)
			break
		}
		words, err := source.Words(in.Text())
		switch {
		case err != nil:
			o.complain("%v", err)
		case len(words) == 0:
		case words[0] == "exit" || words[0] == "quit":
			return 0
		default:
			ok = o.command(words) && ok
		}
	}
	if !ok {
		return exitFail2ban
	}
	return 0
}

// errorText is what fail2ban-client says of an error.
func errorText(e *control.Exception) string {
	first := ""
	if len(e.Args) > 0 {
		first = pyPrint(e.Args[0])
	}
	switch e.Class {
	case "UnknownJailException":
		return "Sorry but the jail '" + first + "' does not exist"
	case "IndexError":
		return "Sorry but the command is invalid"
	case "DuplicateJailException":
		return "The jail '" + first + "' already exists"
	case "FileNotFoundError", "PermissionError", "OSError":
		if len(e.Args) == 3 {
			return fmt.Sprintf("[Errno %s] %s: %s", pyPrint(e.Args[0]), pyPrint(e.Args[1]), control.Repr(e.Args[2]))
		}
	case "KeyError":
		if len(e.Args) == 1 {
			return control.Repr(e.Args[0])
		}
	}
	if len(e.Args) == 1 {
		return first
	}
	return control.Repr(control.Tuple(e.Args))
}

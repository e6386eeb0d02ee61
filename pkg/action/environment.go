package action

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"bailiff/pkg/lazyregexp"
)

// What a command finds in its environment: PATH, LANG, TZ, and what the configuration
// names. What else the daemon was started with (keys, sockets, another program's
// settings) is none of its business.

// DefaultPath is the PATH of commands where the daemon has none.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is what the configuration names.
var environment atomic.Pointer[[]string]

var variable = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*$`)

// CheckVariable says what is wrong with a name, or NAME=VALUE, of an environment.
func CheckVariable(v string) error {
	name, value, _ := strings.Cut(v, "=")
	if !variable.MatchString(name) {
		return fmt.Errorf("environment: %q: want NAME, to hand on the daemon's, or NAME=VALUE", v)
	}
	if strings.Contains(value, "\x00") {
		return fmt.Errorf("environment: %s: a value holds no NUL", name)
	}
	return nil
}

// SetEnvironment says what all commands of the program get beside PATH, LANG and TZ:
// NAME hands on what the daemon has, if it has one; NAME=VALUE says it.
func SetEnvironment(named []string) { environment.Store(&named) }

// environ is the environment of a command.
func environ() []string {
	out := []string{"PATH=" + cmp.Or(os.Getenv("PATH"), DefaultPath)}
	if lang := cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LANG")); lang != "" {
		out = append(out, "LANG="+lang)
	}
	if tz, ok := os.LookupEnv("TZ"); ok {
		out = append(out, "TZ="+tz)
	}
	named := environment.Load()
	if named == nil {
		return out
	}
	for _, v := range *named {
		if strings.Contains(v, "=") {
			out = append(out, v)
		} else if value, ok := os.LookupEnv(v); ok {
			out = append(out, v+"="+value)
		}
	}
	return out // of two with one name, the last one counts
}

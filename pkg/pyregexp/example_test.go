package pyregexp_test

import (
	"fmt"

	"bailiff/pkg/pyregexp"
)

// A conditional, which Go's regexp lacks: the port is asked for only where there is an address.
func ExampleRegexp_FindStringSubmatchIndex() {
	re := pyregexp.MustCompile(`^(?P<user>\w+)(?: from (?P<ip>[\d.]+))?(?(ip) port \d+)$`, 0)
	user := 2 * re.SubexpIndex("user")
	for _, text := range []string{"bob from 203.0.113.7 port 22", "bob from 203.0.113.7", "bob"} {
		if m := re.FindStringSubmatchIndex(text); m != nil {
			fmt.Printf("%q: user %q\n", text, text[m[user]:m[user+1]])
		} else {
			fmt.Printf("%q: no match\n", text)
		}
	}
	// Output:
	// "bob from 203.0.113.7 port 22": user "bob"
	// "bob from 203.0.113.7": no match
	// "bob": user "bob"
}

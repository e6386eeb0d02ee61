package cli

import (
	"bytes"
	"strings"

	"github.com/spf13/cobra"
)

// What manual pages are made of.

// Commands returns the program's commands, for whoever writes pages of them.
func Commands() *cobra.Command { return newRoot() }

// OtherNames are the names under which the program is one of fail2ban's.
var OtherNames = []string{"fail2ban-client", "fail2ban-regex", "fail2ban-server"}

// Help returns what a program of fail2ban's name prints for --help.
func Help(name string) string {
	var out bytes.Buffer
	none, args := strings.NewReader(""), []string{"--help"}
	switch name {
	case "fail2ban-client":
		fail2banClient(name, args, none, &out, &out)
	case "fail2ban-regex":
		fail2banRegex(name, args, none, &out, &out)
	case "fail2ban-server":
		fail2banServer(args, &out, &out)
	}
	return out.String()
}

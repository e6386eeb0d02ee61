// Command bailiff follows logs and bans what attacks. Called as fail2ban-server,
// fail2ban-client or fail2ban-regex it behaves as that program.
package main

import (
	"os"

	"bailiff/pkg/cli"
	_ "bailiff/pkg/largepages" // before all else
)

func main() { os.Exit(cli.Main(os.Args)) }

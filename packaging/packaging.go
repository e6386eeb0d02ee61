// Package packaging holds what packages are made of, as far as the program itself has a use
// for it.
package packaging

import _ "embed"

// Fail2banUnit is the service of the daemon on fail2ban's configuration.
//
//go:embed bailiff-fail2ban.service
var Fail2banUnit string

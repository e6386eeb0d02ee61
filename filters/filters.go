// Package filters holds the stock filters, one TOML file a service, each with
// sample lines of its own. They are written from what the services print.
package filters

import "embed"

// FS holds the *.toml files.
//
//go:embed *.toml
var FS embed.FS

// Package jails holds the stock jails, one TOML file a service. None is enabled
// by itself.
package jails

import "embed"

// FS holds the *.toml files.
//
//go:embed *.toml
var FS embed.FS

package config

import (
	"cmp"
	"path/filepath"

	"github.com/BurntSushi/toml"

	"bailiff/pkg/safefile"
)

// ConfiguredSocket is the socket that the daemon of a configuration directory listens
// on: what its bailiff.toml says, else DefaultSocket. Nothing else is looked at, so a
// mistake elsewhere in it keeps nobody from asking.
func ConfiguredSocket(dir string) string {
	var main struct {
		Socket any `toml:"socket"`
	}
	data, err := safefile.ReadConfig(filepath.Join(dir, "bailiff.toml"))
	if err == nil {
		_, _ = toml.Decode(string(data), &main)
	}
	s, _ := main.Socket.(string)
	return cmp.Or(s, DefaultSocket)
}

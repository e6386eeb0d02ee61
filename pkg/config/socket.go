package config

import (
	"cmp"
	"path/filepath"
	"time"

	"github.com/BurntSushi/toml"

	"bailiff/pkg/safefile"
)

// socketMost is how long is waited for the file that says where the socket is.
const socketMost = time.Second

// ConfiguredSocket is the socket that the daemon of a configuration directory listens
// on: what its bailiff.toml says, else DefaultSocket, also where its disk hangs. Nothing else is looked at, so a
// mistake elsewhere in it keeps nobody from asking.
func ConfiguredSocket(dir string) string {
	var main struct {
		Socket any `toml:"socket"`
	}
	var data []byte
	var err error
	read := safefile.Within(socketMost, func() { data, err = safefile.ReadConfig(filepath.Join(dir, "bailiff.toml")) })
	if read && err == nil {
		_, _ = toml.Decode(string(data), &main)
	}
	s, _ := main.Socket.(string)
	return cmp.Or(s, DefaultSocket)
}

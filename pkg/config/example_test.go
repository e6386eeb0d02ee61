package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"bailiff/pkg/config"
)

// A jail with a mistake has its error, with file, line and key; the other one is whole.
func ExampleLoad() {
	dir, err := os.MkdirTemp("", "bailiff")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	text := `[jail.sshd]
enabled = true
maxretry = 3

[jail.vsftpd]
enabled = true
maxretry = "many"
`
	if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), []byte(text), 0o600); err != nil {
		panic(err)
	}
	c, err := config.Load(config.Options{Path: dir})
	if err != nil {
		panic(err)
	}
	for _, j := range c.Jails {
		if err := j.Broken(); err != nil {
			fmt.Println(strings.ReplaceAll(err.Error(), dir+"/", ""))
			continue
		}
		fmt.Println(j.Name, j.MaxRetry, j.FindTime)
	}
	// Output:
	// sshd 3 10m0s
	// bailiff.toml:7: maxretry: want a whole number, not "many"
}

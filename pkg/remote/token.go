package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"bailiff/pkg/safefile"
)

// tokenBytes is the longest token.
const tokenBytes = 8 << 10

// Token says where a token is: in a file, or a credential that systemd hands over
// (LoadCredential= of the unit). The zero value is none.
type Token struct{ File, Credential string }

// Path is the file that holds it. The error says why there is none.
func (t Token) Path() (string, error) {
	if t.Credential == "" {
		return t.File, nil
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return "", fmt.Errorf("there is no credential %s: no service manager has handed over any ($CREDENTIALS_DIRECTORY is not set); add LoadCredential=%s:PATH to the unit", t.Credential, t.Credential)
	}
	return filepath.Join(dir, t.Credential), nil
}

// Read reads it. A file that others can read, or that somebody else may have written, is
// refused.
func (t Token) Read() (string, error) {
	path, err := t.Path()
	if err != nil {
		return "", err
	}
	f, err := safefile.Open(path)
	if err != nil {
		if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
			return "", fmt.Errorf("%s: %w", path, pe.Err)
		}
		return "", err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	if t.Credential == "" { // the directory of credentials is the service's alone
		if err := private(path, fi); err != nil {
			return "", err
		}
	}
	data := make([]byte, tokenBytes+1)
	n := 0
	for n < len(data) {
		m, err := f.Read(data[n:])
		n += m
		if err != nil || m == 0 {
			break
		}
	}
	if n > tokenBytes {
		return "", fmt.Errorf("%s has more than %d bytes: that is no token", path, tokenBytes)
	}
	token := strings.TrimSpace(string(data[:n]))
	switch {
	case token == "":
		return "", fmt.Errorf("%s is empty", path)
	case strings.IndexFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) >= 0:
		return "", fmt.Errorf("%s holds more than one word: put the token alone into it", path)
	}
	return token, nil
}

func private(path string, fi fs.FileInfo) error {
	if fi.Mode().Perm()&0o027 != 0 {
		return fmt.Errorf("%s can be read or changed by others (mode %04o): chmod 0600 %s", path, fi.Mode().Perm(), path)
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, and not to root or to who runs this: chown root %s", path, st.Uid, path)
	}
	return nil
}

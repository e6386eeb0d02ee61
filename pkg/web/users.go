package web

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/crypto/argon2"
	"golang.org/x/sys/unix"

	"bailiff/pkg/control"
	"bailiff/pkg/safefile"
)

// The file of users: a line each, NAME:ROLE:HASH. The hash is argon2id's in the form that other
// programs write, too ($argon2id$v=19$m=…,t=…,p=…$SALT$SUM); with * nobody logs in by a password,
// and the line only gives a role to who comes by a proxy's header or over a Unix socket.

// User is one of the file's.
type User struct {
	Name string
	Role control.Role
	Hash string // NoPassword: none is right
}

// NoPassword is the hash of who has no password.
const NoPassword = "*"

// Bounds of the file, of names and of passwords.
const (
	usersMost    = 1000
	usersBytes   = 1 << 20
	nameMost     = 64
	passwordMost = 1024
	// PasswordLeast is how long a password has to be, in bytes.
	PasswordLeast = 8
)

// What hashes are made with: 19 MiB and two turns, which OWASP names as the least that is good. A
// login costs the daemon that much memory for some 30 ms, so that few can be tried at a time.
const (
	hashMemory  = 19 << 10 // KiB
	hashTime    = 2
	hashThreads = 1
	hashSize    = 32
	saltSize    = 16
)

// CheckName says what is wrong with a user's name.
func CheckName(name string) error {
	if name == "" || len(name) > nameMost || strings.ContainsFunc(name, func(r rune) bool {
		return r > '~' || r < '0' && !strings.ContainsRune("-.+", r) || strings.ContainsRune(":;<=>?[\\]^`{|}", r)
	}) {
		return fmt.Errorf("user %.80q: want up to %d letters, digits and . _ - + @", name, nameMost)
	}
	return nil
}

// ParseUsers reads a file's text.
func ParseUsers(data []byte) (users []User, err error) {
	for i, line := range bytes.Split(data, []byte("\n")) {
		text := strings.TrimSpace(string(line))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		at := func(err error) error { return fmt.Errorf("line %d: %w", i+1, err) }
		name, rest, _ := strings.Cut(text, ":")
		role, hash, ok := strings.Cut(rest, ":")
		if !ok {
			return nil, at(errors.New("want NAME:ROLE:HASH, as `bailiff web user add` writes it"))
		}
		u := User{Name: name, Hash: hash}
		if err := CheckName(name); err != nil {
			return nil, at(err)
		}
		if u.Role, err = control.ParseRole(role); err != nil {
			return nil, at(err)
		}
		if hash != NoPassword {
			if _, err := parseHash(hash); err != nil {
				return nil, at(fmt.Errorf("user %s: %w", name, err))
			}
		}
		if slices.ContainsFunc(users, func(o User) bool { return o.Name == name }) {
			return nil, at(fmt.Errorf("user %s stands there twice", name))
		}
		if users = append(users, u); len(users) > usersMost {
			return nil, at(fmt.Errorf("more than %d users", usersMost))
		}
	}
	return users, nil
}

// ReadUsers reads a file of users; one that is not there has none. One that others may read or write
// to is an error: who can write to it can log in.
func ReadUsers(path string) ([]User, error) {
	f, err := safefile.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: others may read it or write to it (mode %04o): chmod 600 %s", path, fi.Mode().Perm(), path)
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s: it belongs to user %d, who could let in anybody: chown root %s", path, st.Uid, path)
	}
	if fi.Size() > usersBytes {
		return nil, fmt.Errorf("%s: longer than %d bytes", path, usersBytes)
	}
	data := make([]byte, fi.Size())
	n, err := f.ReadAt(data, 0)
	if err != nil && n < len(data) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	users, err := ParseUsers(data[:n])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return users, nil
}

// ChangeUsers changes a file of users: it is read, changed, and put in its place whole, mode 0600.
// Two who change it wait for each other.
func ChangeUsers(path string, change func([]User) ([]User, error)) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close() // and with it the lock
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("%s: %w", filepath.Dir(path), err)
	}
	users, err := ReadUsers(path)
	if err != nil {
		return err
	}
	if users, err = change(users); err != nil {
		return err
	}
	var b bytes.Buffer
	b.WriteString("# Who may log in at the page (docs/web.md): NAME:ROLE:HASH, made by `bailiff web user`.\n")
	for _, u := range users {
		fmt.Fprintf(&b, "%s:%s:%s\n", u.Name, u.Role, u.Hash)
	}
	return safefile.Replace(path, func(f *os.File) error { // mode 0600
		if fi, err := os.Stat(path); err == nil { // it stays whose it is
			if st, ok := fi.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
				if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
					return err
				}
			}
		}
		_, err := f.Write(b.Bytes())
		return err
	})
}

// HashPassword makes the hash of a password.
func HashPassword(password string) (string, error) {
	if len(password) < PasswordLeast || len(password) > passwordMost {
		return "", fmt.Errorf("the password: want %d to %d bytes", PasswordLeast, passwordMost)
	}
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // it never fails
	sum := argon2.IDKey([]byte(password), salt, hashTime, hashMemory, hashThreads, hashSize)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, hashMemory, hashTime, hashThreads, b64.EncodeToString(salt), b64.EncodeToString(sum)), nil
}

// parsedHash is what a hash says.
type parsedHash struct {
	memory, time uint32
	threads      uint8
	salt, sum    []byte
}

// parseHash reads a hash; what would take more than 256 MiB or ten turns is none.
func parseHash(text string) (h parsedHash, err error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return h, errors.New("the hash is none of argon2id: make it by `bailiff web user passwd`")
	}
	var version int
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return h, fmt.Errorf("the hash: want argon2's version %d", argon2.Version)
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.threads); err != nil || n != 3 ||
		h.memory < 8 || h.memory > 256<<10 || h.time < 1 || h.time > 10 || h.threads < 1 || h.threads > 16 {
		return h, errors.New("the hash: want m (KiB), t and p, at most 262144, 10 and 16")
	}
	if h.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil || len(h.salt) < 8 || len(h.salt) > 64 {
		return h, errors.New("the hash: its salt is none")
	}
	if h.sum, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil || len(h.sum) < 16 || len(h.sum) > 64 {
		return h, errors.New("the hash: its sum is none")
	}
	return h, nil
}

// verify reports whether a password is the one of a hash.
func verify(hash, password string) bool {
	h, err := parseHash(hash)
	if err != nil || len(password) > passwordMost {
		return false
	}
	sum := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.sum)))
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}

// nobodys is a hash that no password is of: who isn't there takes as long as who is.
const nobodys = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// stamp tells an entry from what it was before: who had his role or his password changed logs in
// anew.
func (u *User) stamp() [32]byte { return sha256.Sum256([]byte(u.Role.String() + ":" + u.Hash)) }

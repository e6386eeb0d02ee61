package store

import (
	"errors"
	"fmt"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Locked reports whether an error says that another program holds a lock of the database:
// it can be opened later.
func Locked(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY
}

// busyMost is how long a statement waits for a lock of the database, and patienceMost how long
// the loading of a jail does in all. Who writes waits for who reads a million bans, and has
// new readers wait for him: so long, on a busy machine, that waiting once is not enough. Tests
// have others.
var (
	busyMost     = 5 * time.Second
	patienceMost = time.Minute
)

// whenBusy is told of each time that was not enough; for tests.
var whenBusy = func() {}

// patiently does something that has no effect if the database is locked, until it is not.
func patiently(f func() error) error {
	for end := time.Now().Add(patienceMost); ; {
		err := f()
		if !Locked(err) || time.Now().After(end) {
			return err
		}
		whenBusy()
	}
}

// waitsForLocks is what has a connection to the database wait.
func waitsForLocks() string { return fmt.Sprintf("_pragma=busy_timeout(%d)", busyMost.Milliseconds()) }

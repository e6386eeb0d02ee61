package enrol

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// leastServer is the oldest server of NATS that a fleet works with: before it, TTLs were not kept to,
// or markers of ends could not be done without.
var leastServer = [3]int{2, 15, 2}

// CheckServer says so if a server of NATS is older than a fleet needs.
func CheckServer(version string) error {
	var have [3]int
	plain, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), "-")
	for i, text := range strings.SplitN(plain, ".", 3) {
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("the NATS server says that it is version %.40q: want %s or newer", version, dotted(leastServer))
		}
		have[i] = n
	}
	for i := range have {
		switch {
		case have[i] > leastServer[i]:
			return nil
		case have[i] < leastServer[i]:
			return fmt.Errorf("the NATS server is version %.40s: want %s or newer", version, dotted(leastServer))
		}
	}
	return nil
}

func dotted(v [3]int) string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

// foreign says what a server is that does not behave as one of NATS; nil: it does.
func foreign(err error) error {
	switch {
	case errors.Is(err, nats.ErrNoInfoReceived), strings.Contains(err.Error(), "nats: expected 'INFO'"):
		return errors.New("what answers there is not a NATS server: is it the hub's port (4222, unless another one was given to `bailiff hub init`)?")
	case errors.Is(err, nats.ErrTimeout), strings.Contains(err.Error(), "i/o timeout"):
		return errors.New("nothing answers there in time as a NATS server would: is it the hub's port, and open in its firewall?")
	case errors.Is(err, nats.ErrNkeysNotSupported):
		return errors.New("it lets in anybody, which a hub of bailiff never does: it is another NATS server")
	case errors.Is(err, nats.ErrSecureConnWanted), errors.Is(err, nats.ErrSecureConnRequired):
		return errors.New("it speaks without TLS, which a hub of bailiff never does: is it another NATS server?")
	}
	return nil
}

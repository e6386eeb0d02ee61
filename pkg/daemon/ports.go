package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"bailiff/pkg/config"
	"bailiff/pkg/opener"
	"bailiff/pkg/syslog"
)

// Ports that the daemon's user may not open, those below 1024: this process opens them before
// it gives its rights away, else the one that runs commands does.

// portOf is an address of syslog's as it is opened.
func portOf(a syslog.Address) opener.Place {
	return opener.Place{Network: a.Network(), Address: a.HostPort()}
}

// places are where a configuration listens, but for Unix sockets.
func places(cfg *config.Config) (out []opener.Place) {
	for _, a := range listens(cfg) {
		if p := portOf(a); !a.IsUnix() && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return append(append(out, checkPlaces(cfg)...), webPlaces(cfg)...)
}

// checkPlaces are those where proxies ask.
func checkPlaces(cfg *config.Config) (out []opener.Place) {
	for _, at := range cfg.Check.Listen {
		if _, err := netip.ParseAddrPort(at); err == nil && !filepath.IsAbs(at) {
			out = append(out, opener.Place{Network: "tcp", Address: at})
		}
	}
	return out
}

// openElsewhere opens what the hub may not.
func openElsewhere(a syslog.Address) (*os.File, error) {
	return opener.ByAnother(context.Background(), portOf(a))
}

// PreparePorts opens those of proxies and of the page that are below 1024, while this process may.
func PreparePorts(cfg *config.Config) {
	for _, p := range append(checkPlaces(cfg), webPlaces(cfg)...) {
		if low(p) {
			_ = opener.Keep(p) // who needs it says what is wrong
		}
	}
}

// low reports whether a port is one that not everybody may open.
func low(p opener.Place) bool {
	at, err := netip.ParseAddrPort(p.Address)
	return err == nil && at.Port() < 1024
}

// denied says at which port somebody else has to have the daemon listen; empty: at none.
func denied(cfg *config.Config, hub *syslog.Hub) string {
	if hub != nil {
		for _, a := range hub.Denied() {
			return fmt.Sprintf("%s is not for user %d to open", a, os.Geteuid())
		}
	}
	for i, p := range append(checkPlaces(cfg), webPlaces(cfg)...) {
		if !low(p) || opener.Kept(p) {
			continue
		}
		f, err := opener.Open(context.Background(), p)
		if err == nil {
			f.Close()
		}
		if errors.Is(err, unix.EACCES) {
			what := "[check]"
			if i >= len(checkPlaces(cfg)) {
				what = "[web]"
			}
			return fmt.Sprintf("%s %s is not for user %d to open", what, p.Address, os.Geteuid())
		}
	}
	return ""
}

package daemon

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net/netip"
	"path/filepath"
	"strings"

	"bailiff/pkg/safefile"
)

// Where sessions are told: systemd-logind's files, and utmp where there still is
// one. Both know only of logins that succeeded, so an open connection alone
// protects nobody.
const (
	sessionFiles = "/run/systemd/sessions"
	utmpFile     = "/run/utmp"
)

// peers are the addresses from which people are logged in over SSH.
func (d *Daemon) peers() []netip.Addr { return sessions(sessionFiles, utmpFile) }

// sessions returns the addresses from which people are logged in over SSH.
func sessions(dir, utmp string) []netip.Addr {
	var out []netip.Addr
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, path := range files {
		data, err := safefile.ReadFile(path, 64<<10)
		if err != nil {
			continue // a FIFO of logind's, or a session that has just ended
		}
		fields := map[string]string{}
		lines := bufio.NewScanner(bytes.NewReader(data))
		for lines.Scan() {
			key, value, _ := strings.Cut(lines.Text(), "=")
			fields[key] = strings.Trim(value, `"`)
		}
		if fields["REMOTE"] != "1" || fields["STATE"] == "closing" || !strings.HasPrefix(fields["SERVICE"], "ssh") {
			continue
		}
		if a, err := netip.ParseAddr(fields["REMOTE_HOST"]); err == nil {
			out = append(out, a.Unmap().WithZone(""))
		}
	}
	if data, err := safefile.ReadFile(utmp, 4<<20); err == nil {
		out = append(out, utmpPeers(data)...)
	}
	return out
}

// utmpPeers reads the records of utmp(5).
func utmpPeers(data []byte) []netip.Addr {
	const size, addrAt, userProcess = 384, 348, 7
	var out []netip.Addr
	for ; len(data) >= size; data = data[size:] {
		if binary.NativeEndian.Uint16(data) != userProcess {
			continue
		}
		raw := [16]byte(data[addrAt : addrAt+16])
		a := netip.AddrFrom16(raw).Unmap()
		if bytes.Equal(raw[4:], make([]byte, 12)) { // IPv4 stands in the first word
			a = netip.AddrFrom4([4]byte(raw[:4]))
		}
		if !a.IsUnspecified() {
			out = append(out, a)
		}
	}
	return out
}

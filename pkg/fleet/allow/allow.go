// Package allow has the allow-list of a fleet: whom no host of it shuts out, whatever hosts say. It is signed by an operator's key, which
// is on no host and on no hub: both only hand it on.
//
//	seed, public, err := allow.NewKey()                      // the operator, once
//	text, err := allow.Sign(allow.List{Version: 7, Prefixes: all}, seed)
//	var held allow.Held                                      // a host: the key is pinned
//	changed, err := held.Take(text, public)
//
// A list has a version, and a host that has one takes no older one: so what an operator has taken off the list doesn't come
// back with an old copy of it.
package allow

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nkeys"
)

// Bounds of a list.
const (
	// Most is how many addresses and networks it has.
	Most = 1000
	// BytesMost is how long it is, signed.
	BytesMost = 64 << 10
	// versionMost is the largest version.
	versionMost = 1<<53 - 1
	// Widest4 and Widest6 are the shortest prefixes that it may have.
	Widest4, Widest6 = 8, 16
)

// header is what a signed list begins with.
const header = "bailiff fleet allow-list 1"

// What is wrong with a list that is not taken.
var (
	ErrForm    = errors.New("it is no signed allow-list of a fleet")
	ErrForeign = errors.New("it is signed by another key than the one that is pinned")
	ErrForged  = errors.New("its signature is wrong: it was changed after it was signed")
	ErrOlder   = errors.New("it is older than the one that is held")
	ErrOther   = errors.New("it is another one of the same version as the one that is held")
)

// List is whom no host shuts out.
type List struct {
	// Version is larger than that of every list before.
	Version  uint64
	Prefixes []netip.Prefix
}

// NewKey makes an operator's key: the seed, which is secret, and its public half, which hosts pin.
func NewKey() (seed []byte, public string, err error) {
	k, err := nkeys.CreateOperator()
	if err != nil {
		return nil, "", err
	}
	if seed, err = k.Seed(); err != nil {
		return nil, "", err
	}
	public, err = k.PublicKey()
	return seed, public, err
}

// CheckKey says what is wrong with a public key.
func CheckKey(public string) error {
	if !nkeys.IsValidPublicOperatorKey(public) {
		return fmt.Errorf("%.80q: want the public key that `bailiff fleet allow key` printed: O and 55 letters and digits", public)
	}
	return nil
}

// Add puts an address or a network on the list, in the place of those that it holds.
func (l *List) Add(p netip.Prefix) error {
	p = netip.PrefixFrom(p.Addr().WithZone(""), p.Bits()).Masked()
	if a := p.Addr(); !p.IsValid() || a.Is4In6() {
		return fmt.Errorf("%v: want an address or a network", p)
	} else if least := widest(a); p.Bits() < least {
		return fmt.Errorf("%v: a network wider than /%d is none that one means to allow", p, least)
	}
	l.Prefixes = append(l.Prefixes, p)
	l.sort()
	if len(l.Prefixes) > Most {
		return fmt.Errorf("more than %d addresses and networks", Most)
	}
	return nil
}

func widest(a netip.Addr) int {
	if a.Is4() {
		return Widest4
	}
	return Widest6
}

func (l *List) sort() {
	slices.SortFunc(l.Prefixes, netip.Prefix.Compare)
	l.Prefixes = slices.Compact(l.Prefixes)
}

// text is what is signed.
func (l *List) text(public string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nversion %d\nkey %s\n", header, l.Version, public)
	for _, p := range l.Prefixes {
		fmt.Fprintln(&b, written(p))
	}
	return b.Bytes()
}

// written is one of it: an address without its length.
func written(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

const signature = "signature "

// Sign is the list as it is handed on.
func Sign(l List, seed []byte) ([]byte, error) {
	k, err := nkeys.FromSeed(bytes.TrimSpace(seed))
	if err != nil {
		return nil, fmt.Errorf("the key: %w: want the file that `bailiff fleet allow key` made", err)
	}
	defer k.Wipe()
	public, err := k.PublicKey()
	if err != nil {
		return nil, err
	}
	if err := CheckKey(public); err != nil {
		return nil, errors.New("the key is one of something else: want the file that `bailiff fleet allow key` made")
	}
	l.Prefixes = slices.Clone(l.Prefixes)
	l.sort()
	text := l.text(public)
	sig, err := k.Sign(text)
	if err != nil {
		return nil, err
	}
	text = fmt.Appendf(text, "%s%s\n", signature, base64.StdEncoding.EncodeToString(sig))
	if _, err := Parse(text, public); err != nil {
		return nil, err
	}
	return text, nil
}

// Parse reads what Sign wrote, and nothing else: signed by that key, in the one form that a list has.
func Parse(data []byte, public string) (List, error) {
	l, by, sig, err := read(data)
	switch {
	case err != nil:
		return List{}, err
	case by != public:
		return List{}, fmt.Errorf("%w: by %s, and %s is pinned", ErrForeign, by, public)
	}
	k, err := nkeys.FromPublicKey(public)
	if err != nil {
		return List{}, err
	}
	if k.Verify(l.text(public), sig) != nil {
		return List{}, ErrForged
	}
	return l, nil
}

// read reads the form alone.
func read(data []byte) (l List, by string, sig []byte, err error) {
	bad := func(what string) (List, string, []byte, error) {
		return List{}, "", nil, fmt.Errorf("%w: %s", ErrForm, what)
	}
	if len(data) > BytesMost {
		return bad(fmt.Sprintf("it has more than %d bytes", BytesMost))
	}
	lines := strings.Split(string(data), "\n")
	n := len(lines)
	if n < 5 || lines[0] != header || lines[n-1] != "" || n-5 > Most {
		return bad("its first line is not " + strconv.Quote(header) + ", or it is cut off, or too long")
	}
	version, is := strings.CutPrefix(lines[1], "version ")
	if l.Version, err = strconv.ParseUint(version, 10, 64); !is || err != nil || l.Version == 0 || l.Version > versionMost {
		return bad("it has no version")
	}
	by, is = strings.CutPrefix(lines[2], "key ")
	if !is || CheckKey(by) != nil {
		return bad("it names no key")
	}
	text, is := strings.CutPrefix(lines[n-2], signature)
	if sig, err = base64.StdEncoding.DecodeString(text); !is || err != nil || len(sig) != 64 {
		return bad("it is not signed")
	}
	for _, line := range lines[3 : n-2] {
		p, err := netip.ParsePrefix(line)
		if a, single := netip.ParseAddr(line); single == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p.Addr().Is4In6() || p.Addr().Zone() != "" || p.Masked() != p || p.Bits() < widest(p.Addr()) {
			return bad(fmt.Sprintf("%.80q is no address and no network", line))
		}
		l.Prefixes = append(l.Prefixes, p)
	}
	again := fmt.Appendf(l.text(by), "%s%s\n", signature, base64.StdEncoding.EncodeToString(sig))
	if !bytes.Equal(again, data) || !slices.IsSortedFunc(l.Prefixes, netip.Prefix.Compare) {
		return bad("it is written in another form")
	}
	return l, by, sig, nil
}

// Version is that of a signed list, which is not looked at further; 0: it is none.
func Version(data []byte) uint64 {
	l, _, _, err := read(data)
	if err != nil {
		return 0
	}
	return l.Version
}

// Held is the newest list that was taken. Its zero value holds none. It may be used by several goroutines.
type Held struct {
	mu   sync.RWMutex
	list List
	text []byte
}

// Take takes a list, if it is signed by the pinned key and newer than the one that is held. The same once more changes nothing.
func (h *Held) Take(data []byte, public string) (changed bool, err error) {
	l, err := Parse(data, public)
	if err != nil {
		return false, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case l.Version < h.list.Version:
		return false, fmt.Errorf("%w: version %d, and %d is held", ErrOlder, l.Version, h.list.Version)
	case l.Version == h.list.Version && !bytes.Equal(data, h.text):
		return false, fmt.Errorf("%w (%d)", ErrOther, l.Version)
	case l.Version == h.list.Version:
		return false, nil
	}
	h.list, h.text = l, bytes.Clone(data)
	return true, nil
}

// Get is the list that is held, and the text that was signed; version 0: there is none. They are not to be changed.
func (h *Held) Get() (List, []byte) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.list, h.text
}

// Holds reports whether a network, or an address as one, is on the list, or holds one that is.
func (h *Held) Holds(p netip.Prefix) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.ContainsFunc(h.list.Prefixes, p.Overlaps)
}

package firewall

import (
	"errors"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// setCount is NFTA_SET_COUNT, which kernels tell from 6.16 or so on.
const setCount = 20

// SetCount is how many elements a set has.
type SetCount struct {
	Jail, Set string
	Elements  uint32
}

// Counts returns how many elements the jails' sets have, as the kernel counts them: it lists none
// for that, and no transaction is waited for. There are none from kernels that don't count.
func (f *Firewall) Counts() (out []SetCount, err error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, explain("open a netlink socket", err)
	}
	defer c.Close()
	err = dumpEach(c, unix.NFT_MSG_GETSET, names(*f.called.Load(), ""), func(data []byte) {
		var s SetCount
		counted := false
		for _, a := range attributes(data) {
			switch a.kind {
			case unix.NFTA_SET_NAME:
				s.Set = a.text()
			case setCount:
				s.Elements, counted = a.uint32(), true
			}
		}
		var ours bool
		if _, s.Jail, ours = namedAs(s.Set); ours && counted {
			out = append(out, s)
		}
	})
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, errInterrupted) {
		return nil, explain("count the elements of sets", err)
	}
	return out, nil
}

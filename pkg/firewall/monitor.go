package firewall

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Damage is what another hand took out of our table.
type Damage struct {
	Jails []string // whose sets or rules it was; nil: it may be anybody's
	By    string   // the program's name, as far as the kernel tells it
}

// ports are the netlink addresses of our own connections: a notification bears
// the one of whoever made the change.
type ports struct {
	mu      sync.Mutex
	own     [256]uint32
	next    int
	monitor *netlink.Conn // nil: nobody listens
	damaged func(Damage)
}

// add notes a connection that is about to be used. Notifications of what it
// does stay in the kernel: those of 100,000 elements would fill the buffer.
func (p *ports) add(port uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.own[p.next%len(p.own)] = port
	p.next++
	if p.monitor != nil {
		_ = p.monitor.SetBPF(without(port)) // else they come, and are known by their port
	}
}

func (p *ports) listen(monitor *netlink.Conn, damaged func(Damage)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.monitor, p.damaged = monitor, damaged
}

func (p *ports) has(port uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.own[:], port)
}

// without is a filter that drops the notifications of one connection. Those that
// come in one datagram are all of the same.
func without(port uint32) []bpf.RawInstruction {
	const portAt = 12 // in nlmsghdr
	var host [4]byte
	binary.NativeEndian.PutUint32(host[:], port)
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: portAt, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(host[:]), SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 31},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return nil // SetBPF refuses it
	}
	return raw
}

// groupNftables is NFNLGRP_NFTABLES: changes of rulesets are told there.
const groupNftables = 7

// Watch tells of everything in our table that another hand removes, as soon as
// the kernel says so, until ctx ends.
func (f *Firewall) Watch(ctx context.Context, damaged func(Damage)) error {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return explain("open a netlink socket", err)
	}
	defer conn.Close()
	// A flood of events does not fit: that is noticed, and taken for damage.
	if err := conn.SetReadBuffer(8 << 20); err != nil && !errors.Is(err, unix.EPERM) {
		return explain("watch for changes", err)
	}
	if err := conn.JoinGroup(groupNftables); err != nil {
		return explain("watch for changes", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	f.ports.listen(conn, damaged)
	defer f.ports.listen(nil, nil)
	w := &watcher{f: f}
	for {
		msgs, err := conn.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			w.everything = true
			damaged(w.take("?"))
			continue
		case err != nil:
			return explain("watch for changes", err)
		}
		for _, m := range msgs {
			if by, ended := w.message(m); ended && w.any() {
				damaged(w.take(by))
			}
		}
	}
}

// watcher gathers what one transaction removes.
type watcher struct {
	f          *Firewall
	everything bool
	jails      []string
}

func (w *watcher) any() bool { return w.everything || len(w.jails) > 0 }

func (w *watcher) take(by string) Damage {
	d := Damage{Jails: w.jails, By: by}
	if w.everything {
		d.Jails = nil
	}
	w.everything, w.jails = false, nil
	return d
}

// message looks at one notification. A transaction's last is that of the new
// generation, which names the program.
func (w *watcher) message(m netlink.Message) (by string, ended bool) {
	if uint16(m.Header.Type)>>8 != unix.NFNL_SUBSYS_NFTABLES || len(m.Data) < 4 {
		return "", false
	}
	kind := uint16(m.Header.Type) & 0xff
	switch kind {
	case unix.NFT_MSG_NEWGEN, unix.NFT_MSG_DELTABLE, unix.NFT_MSG_DELCHAIN, unix.NFT_MSG_DELRULE, unix.NFT_MSG_DELSET, unix.NFT_MSG_DELSETELEM:
	default:
		return "", false
	}
	const nameAttr = 2 // of sets and of lists of elements; 1 is the table's name for all
	table, set := "", ""
	ad, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return "", false
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		switch {
		case kind == unix.NFT_MSG_NEWGEN:
			if ad.Type() == unix.NFTA_GEN_PROC_NAME {
				by = ad.String()
			}
		case ad.Type() == unix.NFTA_TABLE_NAME:
			table = ad.String()
		case ad.Type() == nameAttr && (kind == unix.NFT_MSG_DELSET || kind == unix.NFT_MSG_DELSETELEM):
			set = ad.String()
		}
	}
	if kind == unix.NFT_MSG_NEWGEN {
		return by, true
	}
	if m.Data[0] != unix.NFPROTO_INET || table != w.f.table.Name || w.f.ports.has(m.Header.PID) {
		return "", false
	}
	if set == "" {
		w.everything = true
		return "", false
	}
	for _, p := range setPrefixes {
		jail, ok := strings.CutPrefix(set, p)
		if ok && !slices.Contains(w.jails, jail) {
			w.jails = append(w.jails, jail)
		}
	}
	return "", false
}

// deaf calls f without anybody who listens. Where somebody does, the kernel
// writes a message for each element, which costs three to eight times what the
// element does. If the ruleset's generation tells that another hand had its turn
// meanwhile, that is taken for damage.
func (p *ports) deaf(commit func() (own int, err error)) error {
	p.mu.Lock()
	conn, damaged := p.monitor, p.damaged
	p.mu.Unlock()
	if conn == nil {
		_, err := commit()
		return err
	}
	before, ok := generation()
	if !ok || conn.LeaveGroup(groupNftables) != nil {
		_, err := commit()
		return err
	}
	own, err := commit()
	joined := conn.JoinGroup(groupNftables)
	after, ok := generation()
	if joined != nil || !ok || after-before != uint32(own) {
		damaged(Damage{By: "?"})
	}
	return err
}

// generation returns the number that each change of the ruleset counts up.
func generation() (id uint32, ok bool) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return 0, false
	}
	defer conn.Close()
	msgs, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	})
	if err != nil || len(msgs) != 1 || len(msgs[0].Data) < 4 {
		return 0, false
	}
	ad, err := netlink.NewAttributeDecoder(msgs[0].Data[4:])
	if err != nil {
		return 0, false
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		if ad.Type() == unix.NFTA_GEN_ID {
			id, ok = ad.Uint32(), true
		}
	}
	return id, ok
}

// String says what was removed.
func (d Damage) String() string {
	by := d.By
	if by == "" || by == "?" {
		by = "something else"
	}
	if d.Jails == nil {
		return fmt.Sprintf("%s changed our nftables table", by)
	}
	return fmt.Sprintf("%s changed the nftables sets of %s", by, strings.Join(d.Jails, ", "))
}

package main

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bailiff/pkg/netlab"
)

// element is one that the kernel has taken into a set.
type element struct {
	addr netip.Addr
	at   time.Time
}

// watchElements tells of elements that come into sets of a host.
func watchElements(h *netlab.Host) (<-chan element, func(), error) {
	var conn *netlink.Conn
	if err := h.Do(func() (err error) {
		conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	}); err != nil {
		return nil, nil, err
	}
	const nftables = 7 // NFNLGRP_NFTABLES
	if err := conn.JoinGroup(nftables); err != nil {
		conn.Close()
		return nil, nil, err
	}
	out := make(chan element, 1000)
	go func() {
		for {
			msgs, err := conn.Receive()
			if err != nil {
				return
			}
			now := time.Now()
			for _, m := range msgs {
				if m.Header.Type != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWSETELEM || len(m.Data) < 4 {
					continue
				}
				for _, a := range keys(m.Data[4:]) {
					out <- element{a, now}
				}
			}
		}
	}()
	return out, func() { conn.Close() }, nil
}

// keys returns the addresses in a message about elements.
func keys(data []byte) (out []netip.Addr) {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return nil
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		if ad.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		ad.Nested(func(list *netlink.AttributeDecoder) error {
			for list.Next() {
				list.Nested(func(elem *netlink.AttributeDecoder) error {
					for elem.Next() {
						if elem.Type() != unix.NFTA_SET_ELEM_KEY {
							continue
						}
						elem.Nested(func(key *netlink.AttributeDecoder) error {
							for key.Next() {
								if key.Type() == unix.NFTA_DATA_VALUE {
									if a, ok := netip.AddrFromSlice(key.Bytes()); ok {
										out = append(out, a)
									}
								}
							}
							return nil
						})
					}
					return nil
				})
			}
			return nil
		})
	}
	return out
}

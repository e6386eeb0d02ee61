// Package mmdbtest makes files of MaxMind's format for tests: small ones, of what the test says of networks.
//
//	path := mmdbtest.File(t, map[string]map[string]any{"192.0.2.0/24": {"country": map[string]any{"iso_code": "NZ"}}})
package mmdbtest

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// File writes a file that knows networks of IPv6, and those of IPv4 in ::/96, and returns its path.
func File(t testing.TB, of map[string]map[string]any) string {
	t.Helper()
	var data bytes.Buffer
	type node [2]int // 0: nothing; >0: a node; <0: -1-offset of data
	nodes := []node{{}}
	for network, value := range of {
		p := netip.MustParsePrefix(network)
		raw, bits := p.Addr().As16(), p.Bits()
		if p.Addr().Is4() {
			four := p.Addr().As4()
			raw = [16]byte{}
			copy(raw[12:], four[:])
			bits += 96
		}
		at := 0
		for i := range bits {
			bit := int(raw[i/8] >> (7 - i%8) & 1)
			switch next := nodes[at][bit]; {
			case i == bits-1:
				nodes[at][bit] = -1 - data.Len()
			case next > 0:
				at = next
			default:
				nodes = append(nodes, node{})
				nodes[at][bit] = len(nodes) - 1
				at = len(nodes) - 1
			}
		}
		encode(&data, value)
	}
	var b bytes.Buffer
	for _, n := range nodes { // 32 bits a record
		for _, r := range n {
			v := uint32(len(nodes)) // nothing
			switch {
			case r > 0:
				v = uint32(r)
			case r < 0:
				v = uint32(len(nodes) + 16 - 1 - r)
			}
			_ = binary.Write(&b, binary.BigEndian, v)
		}
	}
	b.Write(make([]byte, 16))
	b.Write(data.Bytes())
	b.WriteString("\xab\xcd\xefMaxMind.com")
	encode(&b, map[string]any{
		"node_count": uint32(len(nodes)), "record_size": uint16(32), "ip_version": uint16(6), "database_type": "test",
		"binary_format_major_version": uint16(2), "binary_format_minor_version": uint16(0), "build_epoch": uint64(1), "description": map[string]any{}, "languages": []any{"en"},
	})
	path := filepath.Join(t.TempDir(), "test.mmdb")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// encode writes a value of MaxMind's format.
func encode(b *bytes.Buffer, v any) {
	head := func(kind, size int) {
		first, more := byte(kind<<5), []byte{}
		if kind > 7 {
			first, more = 0, []byte{byte(kind - 7)}
		}
		if size >= 29 {
			b.Write(append([]byte{first | 29}, append(more, byte(size-29))...))
			return
		}
		b.Write(append([]byte{first | byte(size)}, more...))
	}
	number := func(kind int, n uint64) {
		raw := binary.BigEndian.AppendUint64(nil, n)
		raw = bytes.TrimLeft(raw, "\x00")
		head(kind, len(raw))
		b.Write(raw)
	}
	switch v := v.(type) {
	case string:
		head(2, len(v))
		b.WriteString(v)
	case uint16:
		number(5, uint64(v))
	case uint32:
		number(6, uint64(v))
	case uint64:
		number(9, v)
	case map[string]any:
		head(7, len(v))
		for k, x := range v {
			encode(b, k)
			encode(b, x)
		}
	case []any:
		head(11, len(v))
		for _, x := range v {
			encode(b, x)
		}
	}
}

package firewall

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestHeldAndRemoved: what others have put into sets of jails' names is read as it is, in
// whatever form, and what is removed leaves the rest of the table alone.
func TestHeldAndRemoved(t *testing.T) {
	hosttest.InNamespace(t)
	nft(t, `table inet f2b-table {
		set addr-set-a { type ipv4_addr; elements = { 192.0.2.7, 192.0.2.8 }; }
		set addr6-set-a { type ipv6_addr; flags interval; elements = { 2001:db8::/64, 2001:db8:1::5 }; }
		set addr-set-b { type ipv4_addr; flags interval; elements = { 192.0.2.1-192.0.2.3 }; }
		set prefix4-set-b { type ipv4_addr; flags timeout; elements = { 203.0.113.0 timeout 1h }; }
		set somebody { type ipv4_addr; elements = { 192.0.2.99 }; }
		chain f2b-chain { type filter hook input priority -1; ip saddr & 255.255.255.0 == @prefix4-set-b drop; }
	}`)
	told := func(table string) string {
		all, err := Held(table)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for jail, elements := range all {
			for _, e := range elements {
				out = append(out, fmt.Sprintf("%s %s %v", jail, e.ID, e.Left.Round(time.Hour)))
			}
		}
		slices.Sort(out)
		return strings.Join(out, ", ")
	}
	if got, want := told("f2b-table"), "a 192.0.2.7/32 0s, a 192.0.2.8/32 0s, a 2001:db8:1::5/128 0s, a 2001:db8::/64 0s, b 192.0.2.1/32 0s, b 192.0.2.2/31 0s, b 203.0.113.0/24 1h0m0s"; got != want {
		t.Errorf("held\n%s\nwant\n%s", got, want)
	}
	if got := told("nothing"); got != "" {
		t.Errorf("a table that is not there holds %s", got)
	}
	f := open(t)
	if err := f.RemoveJails("a", "b", "c"); err != nil {
		t.Fatal(err)
	}
	if got := told("f2b-table"); got != "" {
		t.Errorf("left: %s", got)
	}
	if got := nft(t, "list", "table", "inet", "f2b-table"); !strings.Contains(got, "somebody") {
		t.Errorf("what is somebody's has gone: %s", got)
	}
	nft(t, "delete set inet f2b-table somebody")
	if _, err := f.AddJail(Rule{Jail: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := f.Apply([]Change{{Jail: "a", ID: prefix("192.0.2.7")}}); err != nil {
		t.Fatal(err)
	}
	if err := f.RemoveJails("a"); err != nil {
		t.Fatal(err)
	}
	if got := nft(t, "list", "tables"); strings.Contains(got, "f2b-table") {
		t.Errorf("the table is there still: %s", got)
	}
	if _, err := f.AddJail(Rule{Jail: "a"}); err != nil {
		t.Fatal(err)
	}
	var kept *HeldError
	if err := Remove(""); !errors.As(err, &kept) || kept.Table != "f2b-table" {
		t.Errorf("the table of who is at work: %v", err)
	}
	if err := f.RemoveTable(); err != nil {
		t.Fatal(err)
	}
	if got := nft(t, "list", "tables"); strings.Contains(got, "f2b-table") {
		t.Errorf("the table is there still: %s", got)
	}
	f.Close()
	nft(t, "add", "table", "inet", "f2b-table")
	nft(t, "add", "set", "inet", "f2b-table", "somebody", "{ type ipv4_addr; }")
	for range 2 { // and one that is not there
		if err := Remove("f2b-table"); err != nil {
			t.Error(err)
		}
		if got := nft(t, "list", "tables"); strings.Contains(got, "f2b-table") {
			t.Errorf("the table is there still: %s", got)
		}
	}
}

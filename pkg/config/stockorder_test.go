package config

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"bailiff/filters"
)

// stockOrder is the order in which each stock filter says what it says: what it is, what lines begin
// with, expressions, modes, and samples.
var stockOrder = []string{
	"description", "source", "journalmatch", "datepattern", "maxlines", "attempts",
	"prefix", "prefregex", "failregex", "ignoreregex", "success", "json", "mode", "client", "sample",
}

// TestStockOrder: whoever has read one stock filter finds his way in all of them, and what many of
// its expressions share is said once, by a prefix.
func TestStockOrder(t *testing.T) {
	t.Parallel()
	const long, often = 40, 5
	for _, file := range stockFiles(filters.FS) {
		data, err := fs.ReadFile(filters.FS, file)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := readDocument(stockPrefix+"filters/"+file, data)
		if err != nil {
			t.Fatal(err)
		}
		last := ""
		for _, key := range doc.inOrder(nil, doc.table) {
			switch {
			case !slices.Contains(stockOrder, key):
				t.Errorf("%s: %s has no place in the order of stock filters (stockOrder)", file, key)
			case last != "" && slices.Index(stockOrder, key) < slices.Index(stockOrder, last):
				t.Errorf("%s:%d: %s stands behind %s: want the order %s", file, doc.line(key), key, last, strings.Join(stockOrder, ", "))
			}
			last = key
		}
		var raw rawFilter
		doc.decode(&raw)
		expressions := slices.Concat(raw.Failregex.texts(), raw.Ignoreregex, raw.Success)
		for _, m := range raw.Mode {
			expressions = append(expressions, m.Failregex.texts()...)
		}
		in := map[string]int{}
		for _, l := range strings.Split(strings.Join(expressions, "\n"), "\n") {
			seen := map[string]bool{}
			for i := range max(0, len(l)-long+1) {
				if part := l[i : i+long]; !seen[part] {
					seen[part] = true
					in[part]++
				}
			}
		}
		for part, n := range in {
			if n >= often {
				t.Errorf("%s: %q stands in %d expressions: name it, as prefix.NAME", file, part, n)
				break
			}
		}
	}
}

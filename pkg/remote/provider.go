package remote

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A provider is data: where it is asked for what, and where in its answers things stand.
// What differs between two of them is here, what is done with it is in list.go.

// Provider describes a server that keeps lists of addresses.
type Provider struct {
	Name string
	// URL is where its paths begin; Header and Scheme say how the token is sent.
	URL, Header, Scheme string
	// Account: an account has to be named, beside the list.
	Account bool
	// Batch is how many items one request may have, and Pause what is kept between two
	// requests, by which its limit is kept to.
	Batch int
	Pause time.Duration
	// Most is how many items a list may have, where nobody says otherwise.
	Most int
	// Shortest and Longest are the networks that it takes, of IPv4 and IPv6. A longer one
	// is widened to Longest, a shorter one is left out. Single are addresses that it takes
	// beside them.
	Shortest, Longest [2]int

	// Read asks for the items of a list, page by page, Find for those of one address.
	Read, Find Call
	// Items, Next and the others are where in answers things stand, as names with dots
	// between them. Next is what the next page is asked for with; empty: there is none.
	// Without it, pages are counted, and one that isn't full is the last.
	Items, Next string
	Page        int // items of a page
	// ID, Address, Length and Comment are what an item has; Length is that of a network,
	// where Address has none.
	ID, Address, Length, Comment string

	// Add and Remove change the list; what is sent is made by AddBody and RemoveBody.
	Add, Remove Call
	AddBody     func(items []netip.Prefix, comment string) any
	RemoveBody  func(ids []string) any

	// Operation is where the answer to a change names the operation that is under way then;
	// empty: it is done. Await asks for it: State is pending until it is one of Done or of
	// Failed, whose reason is at Reason.
	Operation    string
	Await        Call
	State        string
	Done, Failed []string
	Reason       string
	// Busy are words in a refusal that say: later.
	Busy []string
}

// Call is one request. {account}, {list}, {cursor}, {address} and {operation} in its path
// are filled in.
type Call struct{ Method, Path string }

// Providers are those that are known.
var Providers = []*Provider{
	// Lists of an account. One operation at a time for an account; 1,200 requests in five
	// minutes for a user.
	{
		Name: "cloudflare", URL: "https://api.cloudflare.com/client/v4", Header: "Authorization", Scheme: "Bearer",
		Account: true, Batch: 1000, Pause: 300 * time.Millisecond, Most: 10_000,
		Shortest: [2]int{8, 12}, Longest: [2]int{32, 64},
		Read:  Call{"GET", "/accounts/{account}/rules/lists/{list}/items?per_page=500&cursor={cursor}"},
		Find:  Call{"GET", "/accounts/{account}/rules/lists/{list}/items?per_page=500&search={address}"},
		Items: "result", Next: "result_info.cursors.after", Page: 500,
		ID: "id", Address: "ip", Comment: "comment",
		Add: Call{"POST", "/accounts/{account}/rules/lists/{list}/items"},
		AddBody: func(items []netip.Prefix, comment string) any {
			type item struct {
				IP      string `json:"ip"`
				Comment string `json:"comment"`
			}
			out := make([]item, 0, len(items))
			for _, p := range items {
				out = append(out, item{Written(p), comment})
			}
			return out
		},
		Remove: Call{"DELETE", "/accounts/{account}/rules/lists/{list}/items"},
		RemoveBody: func(ids []string) any {
			type item struct {
				ID string `json:"id"`
			}
			out := make([]item, 0, len(ids))
			for _, id := range ids {
				out = append(out, item{id})
			}
			return map[string]any{"items": out}
		},
		Operation: "result.operation_id",
		Await:     Call{"GET", "/accounts/{account}/rules/lists/bulk_operations/{operation}"},
		State:     "result.status", Done: []string{"completed"}, Failed: []string{"failed"}, Reason: "result.error",
		Busy: []string{"outstanding", "pending", "in progress", "already running"},
	},
	// Entries of an access control list (ACL) of a service, which is the account here. What is
	// changed is so at once. As Fastly's own clients have it (fastly-api, AclEntryApi): at most
	// 1,000 changes in a request.
	{
		Name: "fastly", URL: "https://api.fastly.com", Header: "Fastly-Key",
		Account: true, Batch: 1000, Pause: time.Second, Most: 1000,
		Shortest: [2]int{1, 1}, Longest: [2]int{32, 128},
		Read:  Call{"GET", "/service/{account}/acl/{list}/entries?per_page=100&page={cursor}"},
		Items: "", Page: 100,
		ID: "id", Address: "ip", Length: "subnet", Comment: "comment",
		Add: Call{"PATCH", "/service/{account}/acl/{list}/entries"},
		AddBody: func(items []netip.Prefix, comment string) any {
			out := make([]map[string]any, 0, len(items))
			for _, p := range items {
				entry := map[string]any{"op": "create", "ip": p.Addr().String(), "comment": comment}
				if !p.IsSingleIP() {
					entry["subnet"] = p.Bits()
				}
				out = append(out, entry)
			}
			return map[string]any{"entries": out}
		},
		Remove: Call{"PATCH", "/service/{account}/acl/{list}/entries"},
		RemoveBody: func(ids []string) any {
			out := make([]map[string]any, 0, len(ids))
			for _, id := range ids {
				out = append(out, map[string]any{"op": "delete", "id": id})
			}
			return map[string]any{"entries": out}
		},
	},
}

// ProviderNames are the names of those that are known.
func ProviderNames() (out []string) {
	for _, p := range Providers {
		out = append(out, p.Name)
	}
	return out
}

// ProviderOf returns the one of a name; nil: there is none.
func ProviderOf(name string) *Provider {
	if i := slices.IndexFunc(Providers, func(p *Provider) bool { return p.Name == name }); i >= 0 {
		return Providers[i]
	}
	return nil
}

// path fills in a call's path: pairs of names and values.
func (c Call) path(pairs ...string) string {
	out := c.Path
	path, query, _ := strings.Cut(out, "?")
	for i := 0; i+1 < len(pairs); i += 2 {
		path = strings.ReplaceAll(path, "{"+pairs[i]+"}", url.PathEscape(pairs[i+1]))
		query = strings.ReplaceAll(query, "{"+pairs[i]+"}", url.QueryEscape(pairs[i+1]))
	}
	if query == "" {
		return path
	}
	return path + "?" + query
}

// Fit returns a network as the provider takes it: longer ones are widened. ok: it takes it
// at all.
func (p *Provider) Fit(n netip.Prefix) (fit netip.Prefix, widened, ok bool) {
	family := 0
	if n.Addr().Is6() {
		family = 1
	}
	switch {
	case n.Bits() < p.Shortest[family]:
		return n, false, false
	case n.Bits() > p.Longest[family]:
		fit, err := n.Addr().Prefix(p.Longest[family])
		return fit, true, err == nil
	}
	return n.Masked(), false, true
}

// Written is a network as lists have it: an address has no length.
func Written(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// Item is what a list holds.
type Item struct {
	ID      string
	Prefix  netip.Prefix // not valid: it is nothing that we could have put there
	Comment string
}

// items reads a page of a list.
func (p *Provider) items(answer []byte) (items []Item, next string, err error) {
	var all any
	if err := json.Unmarshal(answer, &all); err != nil {
		return nil, "", fmt.Errorf("the server's answer is no JSON: %w", err)
	}
	list, ok := at(all, p.Items).([]any)
	if !ok {
		return nil, "", fmt.Errorf("the server's answer has no list at %q", p.Items)
	}
	for _, one := range list {
		fields, ok := one.(map[string]any)
		if !ok {
			continue
		}
		item := Item{ID: text(fields[p.ID]), Comment: text(fields[p.Comment])}
		address := text(fields[p.Address])
		if length := text(fields[p.Length]); p.Length != "" && length != "" && !strings.Contains(address, "/") {
			address += "/" + length
		}
		item.Prefix = prefix(address)
		items = append(items, item)
	}
	return items, text(at(all, p.Next)), nil
}

// prefix reads an address or a network; not valid if it is neither.
func prefix(s string) netip.Prefix {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen())
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}
	}
	return p.Masked()
}

// at returns what stands at a place of an answer; nil: nothing.
func at(v any, place string) any {
	if place == "" {
		return v
	}
	for _, name := range strings.Split(place, ".") {
		fields, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = fields[name]
	}
	return v
}

// text is a value of JSON as a text; empty if it is none, nor a number.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return fmt.Sprintf("%.0f", v)
	}
	return ""
}

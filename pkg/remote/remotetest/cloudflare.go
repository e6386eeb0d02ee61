package remotetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Cloudflare answers as Cloudflare's API of IP lists does: operations are asynchronous, an
// account has one at a time, and one wrong item has a whole operation fail.
type Cloudflare struct {
	Account, List, Token string
	Most                 int // items of the list; 0: no bound
	// Fault says what goes wrong with the n-th request: an HTTP status, FaultCut or
	// FaultCutAfter; 0: nothing. nil: nothing ever does.
	Fault func(n int, r *http.Request) int

	mu       sync.Mutex
	items    map[string]CloudflareItem // by address
	order    []string
	next     int
	pending  *operation
	ops      map[string]*operation
	requests map[string]int // by kind, and "faults"
	n        int
	batches  []int
	wrong    []string
}

// CloudflareItem is an item of the list.
type CloudflareItem struct {
	ID      string `json:"id"`
	IP      string `json:"ip"`
	Comment string `json:"comment"`
}

type operation struct {
	id, state, reason string
	polls             int
	do                func() string
}

// Faults beside an HTTP status.
const (
	FaultCut      = -1 // the connection is cut, and nothing is done
	FaultCutAfter = -2 // it is done, and the connection is cut before the answer
)

// Put has somebody else put an item on the list.
func (c *Cloudflare) Put(ip, comment string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(ip, comment)
}

func (c *Cloudflare) put(ip, comment string) {
	if c.items == nil {
		c.items = map[string]CloudflareItem{}
	}
	c.next++
	if _, there := c.items[ip]; !there {
		c.order = append(c.order, ip)
	}
	c.items[ip] = CloudflareItem{fmt.Sprintf("%032x", c.next), ip, comment}
}

// Remove has somebody else take one off.
func (c *Cloudflare) Remove(ip string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(ip)
}

func (c *Cloudflare) remove(ip string) {
	delete(c.items, ip)
	if i := slices.Index(c.order, ip); i >= 0 {
		c.order = slices.Delete(c.order, i, i+1)
	}
}

// Items are those of a comment, in order.
func (c *Cloudflare) Items(comment string) (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ip, i := range c.items {
		if i.Comment == comment {
			out = append(out, ip)
		}
	}
	slices.Sort(out)
	return out
}

// Requests is how many of a kind there were: GET, POST, DELETE, or "faults"; Batches are
// the items of each that added some; Wrong is what the server took amiss.
func (c *Cloudflare) Requests(kind string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests[kind]
}

// Batches returns how many items each request had that added some.
func (c *Cloudflare) Batches() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.batches)
}

// Wrong returns what was sent that a real server would refuse, or that exceeds its limits.
func (c *Cloudflare) Wrong() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.wrong)
}

// ServeHTTP implements http.Handler.
func (c *Cloudflare) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests == nil {
		c.requests, c.ops = map[string]int{}, map[string]*operation{}
	}
	c.n++
	c.requests[r.Method]++
	fault := 0
	if c.Fault != nil {
		fault = c.Fault(c.n, r)
	}
	if fault != 0 {
		c.requests["faults"]++
	}
	switch {
	case fault == FaultCut:
		panic(http.ErrAbortHandler)
	case fault == http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "1")
		fallthrough
	case fault > 0:
		fail(w, fault, 10013, "a fault of the test")
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+c.Token {
		fail(w, http.StatusForbidden, 10000, "Authentication error: "+r.Header.Get("Authorization"))
		return
	}
	base := "/accounts/" + c.Account + "/rules/lists/"
	rest, ok := strings.CutPrefix(r.URL.Path, base)
	if !ok {
		fail(w, http.StatusNotFound, 7003, "no route for that URI")
		return
	}
	answer := any(nil)
	if id, is := strings.CutPrefix(rest, "bulk_operations/"); is && r.Method == http.MethodGet {
		answer = c.poll(id)
	} else if rest == c.List+"/items" {
		switch r.Method {
		case http.MethodGet:
			answer = c.page(r)
		case http.MethodPost, http.MethodDelete:
			answer = c.change(w, r)
		}
	}
	if answer == nil {
		if r.Method == http.MethodGet || rest != c.List+"/items" {
			fail(w, http.StatusNotFound, 10001, "could not find it")
		}
		return
	}
	if fault == FaultCutAfter {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func fail(w http.ResponseWriter, status, code int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"success": false, "errors": []map[string]any{{"code": code, "message": text}}, "result": nil})
}

func (c *Cloudflare) page(r *http.Request) any {
	size, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
	if size < 1 || size > 500 {
		size = 25
	}
	from, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Query().Get("cursor"), "after"))
	search := r.URL.Query().Get("search")
	items := []CloudflareItem{}
	after := ""
	for i := from; i < len(c.order); i++ {
		if !strings.HasPrefix(c.order[i], search) {
			continue
		}
		if len(items) == size {
			after = fmt.Sprintf("after%d", i)
			break
		}
		items = append(items, c.items[c.order[i]])
	}
	return map[string]any{"success": true, "errors": []any{}, "result": items, "result_info": map[string]any{"cursors": map[string]any{"after": after}}}
}

func (c *Cloudflare) change(w http.ResponseWriter, r *http.Request) any {
	if c.pending != nil {
		fail(w, http.StatusBadRequest, 10030, "there is an outstanding bulk operation in progress for the account")
		// It goes on though nobody asks for it.
		c.advance(c.pending)
		return nil
	}
	op := &operation{id: fmt.Sprintf("op%d", len(c.ops)+1), state: "pending"}
	if r.Method == http.MethodPost {
		var items []CloudflareItem
		if err := json.NewDecoder(r.Body).Decode(&items); err != nil || len(items) == 0 {
			fail(w, http.StatusBadRequest, 10026, "the body is no list of items")
			return nil
		}
		c.batches = append(c.batches, len(items))
		op.do = func() string { return c.add(items) }
	} else {
		var body struct {
			Items []struct {
				ID string `json:"id"`
			} `json:"items"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body.Items) == 0 {
			fail(w, http.StatusBadRequest, 10026, "the body has no items")
			return nil
		}
		op.do = func() string {
			ids := map[string]bool{}
			for _, i := range body.Items {
				ids[i.ID] = true
			}
			for _, ip := range slices.Clone(c.order) {
				if ids[c.items[ip].ID] {
					c.remove(ip)
				}
			}
			return ""
		}
	}
	c.ops[op.id], c.pending = op, op
	return map[string]any{"success": true, "errors": []any{}, "result": map[string]any{"operation_id": op.id}}
}

func (c *Cloudflare) add(items []CloudflareItem) string {
	if c.Most > 0 && len(c.order)+len(items) > c.Most {
		return "This list is at the maximum number of items"
	}
	for _, i := range items {
		p, err := netip.ParsePrefix(i.IP)
		if a, single := netip.ParseAddr(i.IP); single == nil && a.Is4() {
			p, err = netip.PrefixFrom(a, 32), nil
		}
		_, there := c.items[i.IP]
		switch {
		case err != nil, p.Addr().Is4() && p.Bits() < 8, p.Addr().Is6() && (p.Bits() < 12 || p.Bits() > 64), p != p.Masked():
			c.wrong = append(c.wrong, i.IP)
			return "invalid IP address or range: " + i.IP
		case there:
			return "duplicate of an existing item: " + i.IP
		}
	}
	for _, i := range items {
		c.put(i.IP, i.Comment)
	}
	return ""
}

// advance has an operation go on: it takes two looks.
func (c *Cloudflare) advance(op *operation) {
	if op.polls++; op.polls == 1 {
		op.state = "running"
		return
	}
	if op.state == "running" {
		op.state = "completed"
		if op.reason = op.do(); op.reason != "" {
			op.state = "failed"
		}
		c.pending = nil
	}
}

func (c *Cloudflare) poll(id string) any {
	op := c.ops[id]
	if op == nil {
		return nil
	}
	c.advance(op)
	return map[string]any{"success": true, "errors": []any{}, "result": map[string]any{"id": op.id, "status": op.state, "error": op.reason}}
}

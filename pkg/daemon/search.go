package daemon

import (
	"bytes"
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/control"
	"bailiff/pkg/iplist"
	"bailiff/pkg/jail"
)

// A page of bans, out of as many as there are. Nothing is kept from one page to the next: each
// goes through all bans, in pieces, and keeps the first hundred behind the last one of the page
// before. So a page is what is behind that place now, whoever came or went meanwhile, and what it
// takes does not grow with the bans. A jail only copies its pieces (ban.Rows), and of a ban no more
// is looked at than what decides whether it is on the page: a million take a tenth of a second so.

// searchesAtOnce is how many searches go on at a time; others wait.
const searchesAtOnce = 2

// banKey is what bans are put in order by.
type banKey struct {
	value int64 // time, end or count, or what decides mostly between two addresses; 0 otherwise
	jail  string
	id    ban.ID
}

// banOrder puts bans in order.
type banOrder struct {
	by   string
	down bool
}

// never is the end of those that have none.
const never = 1<<63 - 1

// value is that of a ban's key: of nearly all bans it says alone that they are not on the page.
func (o *banOrder) value(r ban.Row) int64 {
	switch o.by {
	case "time":
		return r.Start()
	case "end":
		if ns, ends := r.End(); ends {
			return ns
		}
		return never
	case "count":
		return int64(max(r.Count(), 1))
	case "ip":
		return r.Rank()
	}
	return 0
}

func (o *banOrder) compare(a, b *banKey) int {
	c := cmp.Compare(a.value, b.value)
	if c == 0 && o.by == "ip" {
		c = a.id.Compare(b.id)
	}
	if c == 0 {
		if c = strings.Compare(a.jail, b.jail); c == 0 {
			c = a.id.Compare(b.id)
		}
	}
	if o.down {
		return -c
	}
	return c
}

// place is where a ban is in the order.
func (o *banOrder) place(k *banKey) control.BanPlace {
	value := k.value
	if o.by == "ip" {
		value = 0 // the address says it
	}
	return control.BanPlace{Sort: o.text(), Value: value, Jail: k.jail, ID: ban.Name(k.id), Name: k.id.IsName()}
}

func (o *banOrder) text() string {
	if o.down {
		return "-" + o.by
	}
	return o.by
}

// at is what a ban at a place would be put in order by.
func (o *banOrder) at(text string) (*banKey, error) {
	p, err := control.ParseBanPlace(text, o.text())
	if err != nil {
		return nil, control.Bad(err)
	}
	k := &banKey{jail: p.Jail}
	if p.Name {
		k.id = ban.Named(p.ID)
	} else if prefix, err := iplist.Parse(p.ID); err == nil {
		k.id = ban.Of(prefix)
	}
	if !k.id.IsValid() {
		return nil, control.Bad(errors.New("after, before: no page has given that place: begin at the first page"))
	}
	switch o.by {
	case "jail":
	case "ip":
		k.value = k.id.Rank()
	default:
		k.value = p.Value
	}
	return k, nil
}

// banWords are what is searched for. A ban has to have each.
type banWords struct {
	networks []netip.Prefix
	texts    [][]byte // in small letters
	buf      []byte
}

func readBanWords(search string) (w banWords) {
	for _, word := range strings.Fields(search) {
		text := strings.ToLower(strings.Trim(word, "*"))
		if p, err := iplist.Parse(word); err == nil {
			w.networks = append(w.networks, p)
		} else if text != "" {
			w.texts = append(w.texts, []byte(text))
		}
	}
	return w
}

// of are those of the words that not every ban of a jail has by its name.
func (w *banWords) of(jail string) *banWords {
	name := []byte(strings.ToLower(jail))
	left := &banWords{networks: w.networks}
	for _, t := range w.texts {
		if !bytes.Contains(name, t) {
			left.texts = append(left.texts, t)
		}
	}
	return left
}

// has reports whether a ban has all words. It belongs to one goroutine.
func (w *banWords) has(r ban.Row) bool {
	if len(w.networks) == 0 && len(w.texts) == 0 {
		return true
	}
	id, beside := r.ID(), r.IP().Addr()
	for _, n := range w.networks {
		if (id.IsName() || !n.Overlaps(id.Prefix())) && !n.Contains(beside) {
			return false
		}
	}
	if len(w.texts) == 0 {
		return true
	}
	w.buf = id.AppendName(w.buf[:0])
	text := w.buf
	if id.IsName() {
		text = bytes.ToLower(text)
	}
	if beside.IsValid() {
		text = beside.AppendTo(append(text, '\n')) // which no word has
	}
	for _, t := range w.texts {
		if !bytes.Contains(text, t) {
			return false
		}
	}
	return true
}

// banPage gathers a page.
type banPage struct {
	order  banOrder
	words  banWords
	from   *banKey // the place that it begins behind, or ends before; nil: at the first one
	before bool
	most   int // how many are kept: one more than a page has, which says that there is another

	mu      sync.Mutex
	over    bool // nobody waits for it any more
	kept    []keptBan
	heap    []int32 // of kept once it is full, the one that goes first at its top
	total   int     // that match
	passed  int     // of them, those up to from
	all     int
	problem []string
}

// keptBan is a ban that may be on the page.
type keptBan struct {
	banKey
	ban.Ban
}

func orderOf(q *control.BansQuery) banOrder {
	by, down := q.Order()
	return banOrder{by, down}
}

func newBanPage(q control.BansQuery) (*banPage, error) {
	p := &banPage{order: orderOf(&q), words: readBanWords(q.Search), most: q.Limit + 1}
	if text := cmp.Or(q.After, q.Before); text != "" {
		at, err := p.order.at(text)
		if err != nil {
			return nil, err
		}
		p.from, p.before = at, q.Before != ""
	}
	return p, nil
}

// better compares two bans by which is to be kept.
func (p *banPage) better(a, b *banKey) int {
	if p.before {
		return p.order.compare(b, a)
	}
	return p.order.compare(a, b)
}

// look takes a ban of a jail into account, of whose words those are given that its name lacks.
func (p *banPage) look(jail string, words *banWords, r ban.Row) {
	p.all++
	if !words.has(r) {
		return
	}
	p.total++
	value := p.order.value(r)
	forth := p.order.down == p.before // what is larger is behind
	apart := p.from == nil || value != p.from.value
	switch {
	case !apart: // they are to be compared
	case p.from != nil && (value < p.from.value) == forth:
		p.passed++
		return
	case len(p.heap) > 0: // what is behind the worst one that is kept is not on the page
		if worst := p.kept[p.heap[0]].value; value != worst && (value > worst) == forth {
			return
		}
	}
	key := banKey{value, jail, r.ID()}
	switch {
	case p.from != nil && p.better(&key, p.from) <= 0:
		p.passed++
	case len(p.kept) < p.most:
		p.kept = append(p.kept, keptBan{key, r.Ban()})
		if len(p.kept) == p.most {
			for i := range p.kept {
				p.heap = append(p.heap, int32(i))
			}
			heap.Init((*keptHeap)(p))
		}
	case p.better(&key, &p.kept[p.heap[0]].banKey) < 0:
		p.kept[p.heap[0]] = keptBan{key, r.Ban()}
		heap.Fix((*keptHeap)(p), 0)
	}
}

// keptHeap is a page's heap, for container/heap.
type keptHeap banPage

func (h *keptHeap) Len() int { return len(h.heap) }
func (h *keptHeap) Less(i, j int) bool {
	return (*banPage)(h).better(&h.kept[h.heap[i]].banKey, &h.kept[h.heap[j]].banKey) > 0
}
func (h *keptHeap) Swap(i, j int) { h.heap[i], h.heap[j] = h.heap[j], h.heap[i] }
func (h *keptHeap) Push(any)      {} // it stays as long as it is
func (h *keptHeap) Pop() any      { return nil }

// gather goes through the bans of a jail.
func (p *banPage) gather(name string, each func(bool, func(*ban.Rows) bool) error) error {
	words := p.words.of(name)
	// A list is about in the order of time: from its right end on, most bans are seen at once to be none of the page's.
	return each(p.order.down != p.before, func(rows *ban.Rows) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if rows == nil { // all over again: what was told of this jail counts no more
			p.problem = append(p.problem, fmt.Sprintf("jail %s was started anew meanwhile: some of its bans may be counted twice", name))
			return !p.over
		}
		for i := range rows.Len() {
			p.look(name, words, rows.At(i))
		}
		return !p.over
	})
}

// page is what was gathered.
func (p *banPage) page() (out control.BansPage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	slices.SortFunc(p.kept, func(a, b keptBan) int { return p.better(&a.banKey, &b.banKey) })
	more := len(p.kept) == p.most
	p.kept = slices.CompactFunc(p.kept, func(a, b keptBan) bool { return a.jail == b.jail && a.id == b.id })
	if len(p.kept) == p.most {
		p.kept = p.kept[:p.most-1]
	}
	out = control.BansPage{Bans: []jail.BanStatus{}, Total: p.total, All: p.all, Offset: p.passed, Problems: p.problem}
	slices.Sort(out.Problems)
	next, prev := more, p.from != nil && p.passed > 0
	if p.before {
		slices.Reverse(p.kept)
		next, prev = p.passed > 0, more
		out.Offset = max(p.total-p.passed-len(p.kept), 0)
	}
	for i := range p.kept {
		out.Bans = append(out.Bans, jail.StatusOf(p.kept[i].jail, p.kept[i].Ban))
	}
	if n := len(p.kept); n > 0 {
		if next {
			out.Next = p.order.place(&p.kept[n-1].banKey).Text()
		}
		if prev {
			out.Prev = p.order.place(&p.kept[0].banKey).Text()
		}
	}
	return out
}

// SearchBans implements control.Daemon.
func (d *Daemon) SearchBans(q control.BansQuery) (control.BansPage, error) {
	jails := d.running()
	if q.Jail != "" {
		j, err := d.jail(q.Jail)
		if err != nil {
			return control.BansPage{}, err
		}
		jails = []*jail.Jail{j}
	}
	p, err := newBanPage(q)
	if err != nil {
		return control.BansPage{}, err
	}
	late := time.NewTimer(control.SearchPatience)
	defer late.Stop()
	select {
	case d.searches <- struct{}{}:
	case <-late.C:
		return control.BansPage{}, errors.New("others search the bans, and have for a while: ask again")
	}
	var mu sync.Mutex
	waits := map[string]bool{}
	for _, j := range jails {
		if !j.Configured.Observe {
			waits[j.Configured.Name] = true
		}
	}
	done := make(chan struct{})
	go func() {
		defer func() { <-d.searches }()
		defer close(done)
		var wg sync.WaitGroup // beside each other: some may be busy
		for _, j := range jails {
			name := j.Configured.Name
			if j.Configured.Observe {
				continue // nobody is banned there
			}
			wg.Go(func() {
				if err := p.gather(name, j.EachBan); err != nil {
					p.mu.Lock()
					p.problem = append(p.problem, fmt.Sprintf("%v: its bans, or some of them, are missing here", err))
					p.mu.Unlock()
				}
				mu.Lock()
				defer mu.Unlock()
				delete(waits, name)
			})
		}
		wg.Wait()
	}()
	select {
	case <-done:
	case <-late.C:
		mu.Lock()
		missing := sortedKeys(waits)
		mu.Unlock()
		p.mu.Lock()
		for _, name := range missing {
			p.problem = append(p.problem, fmt.Sprintf("jail %s has not listed all of its bans within %v: some are missing here", name, control.SearchPatience))
		}
		p.mu.Unlock()
	}
	return p.page(), nil
}

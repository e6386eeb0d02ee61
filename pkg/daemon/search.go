package daemon

import (
	"cmp"
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
// takes does not grow with the bans.

// searchesAtOnce is how many searches go on at a time; others wait.
const searchesAtOnce = 2

// banOf is a ban and its jail.
type banOf struct {
	jail string
	ban.Ban
}

// banOrder puts bans in order.
type banOrder struct {
	by   string
	down bool
}

// value is what a ban is sorted by, where that is a number.
func (o banOrder) value(b *banOf) int64 {
	switch o.by {
	case "time":
		return b.Start.UnixNano()
	case "end":
		if b.Permanent() {
			return 1<<63 - 1
		}
		return b.End.UnixNano()
	case "count":
		return int64(max(b.Count, 1))
	}
	return 0
}

func (o banOrder) compare(a, b *banOf) int {
	c := 0
	if o.by == "ip" {
		c = a.ID.Compare(b.ID)
	} else if o.by != "jail" {
		c = cmp.Compare(o.value(a), o.value(b))
	}
	if c == 0 {
		if c = strings.Compare(a.jail, b.jail); c == 0 {
			c = a.ID.Compare(b.ID)
		}
	}
	if o.down {
		return -c
	}
	return c
}

// place is where a ban is in the order.
func (o banOrder) place(b *banOf) control.BanPlace {
	return control.BanPlace{Sort: o.text(), Value: o.value(b), Jail: b.jail, ID: ban.Name(b.ID), Name: b.ID.IsName()}
}

func (o banOrder) text() string {
	if o.down {
		return "-" + o.by
	}
	return o.by
}

// at is a ban that would be at a place.
func (o banOrder) at(text string) (*banOf, error) {
	p, err := control.ParseBanPlace(text, o.text())
	if err != nil {
		return nil, control.Bad(err)
	}
	b := &banOf{jail: p.Jail}
	if p.Name {
		b.ID = ban.Named(p.ID)
	} else if prefix, err := iplist.Parse(p.ID); err == nil {
		b.ID = ban.Of(prefix)
	}
	if !b.ID.IsValid() {
		return nil, control.Bad(errors.New("after, before: no page has told that place: begin at the first page"))
	}
	switch o.by {
	case "time":
		b.Start = time.Unix(0, p.Value)
	case "end":
		if p.Value != 1<<63-1 {
			b.End = time.Unix(0, p.Value)
		}
	case "count":
		b.Count = int(p.Value)
	}
	return b, nil
}

// banWords are what is searched for. A ban has to have each.
type banWords struct {
	networks []netip.Prefix
	texts    []string // in small letters
	buf      []byte
}

func readBanWords(search string) (w banWords) {
	for _, word := range strings.Fields(search) {
		text := strings.ToLower(strings.Trim(word, "*"))
		if p, err := iplist.Parse(word); err == nil {
			w.networks = append(w.networks, p)
		} else if text != "" {
			w.texts = append(w.texts, text)
		}
	}
	return w
}

// has reports whether a ban has all words. It belongs to one goroutine.
func (w *banWords) has(b *banOf) bool {
	for _, n := range w.networks {
		touches := func(id ban.ID) bool { return id.IsValid() && !id.IsName() && n.Overlaps(id.Prefix()) }
		if !touches(b.ID) && !touches(b.Element()) {
			return false
		}
	}
	if len(w.texts) == 0 {
		return true
	}
	w.buf = b.ID.AppendName(w.buf[:0])
	if b.IP.IsValid() {
		w.buf = b.IP.Addr().AppendTo(append(w.buf, '\n'))
	}
	w.buf = append(append(w.buf, '\n'), b.jail...)
	text := string(w.buf)
	if b.ID.IsName() || !isLower(b.jail) {
		text = strings.ToLower(text)
	}
	for _, t := range w.texts {
		if !strings.Contains(text, t) {
			return false
		}
	}
	return true
}

func isLower(s string) bool { return strings.ToLower(s) == s }

// banPage gathers a page.
type banPage struct {
	order  banOrder
	words  banWords
	from   *banOf // the place that it begins behind, or ends before; nil: at the first one
	before bool
	most   int // how many are kept: one more than a page has, which says that there is another

	mu      sync.Mutex
	over    bool // nobody waits for it any more
	kept    []banOf
	worst   *banOf // one that is not better needs not be kept
	total   int    // that match
	passed  int    // of them, those up to from
	all     int
	problem []string
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
func (p *banPage) better(a, b *banOf) int {
	if p.before {
		return p.order.compare(b, a)
	}
	return p.order.compare(a, b)
}

func (p *banPage) look(b *banOf) {
	p.all++
	if !p.words.has(b) {
		return
	}
	p.total++
	if p.from != nil && p.better(b, p.from) <= 0 {
		p.passed++
		return
	}
	if p.worst != nil && p.better(b, p.worst) >= 0 {
		return
	}
	if p.kept = append(p.kept, *b); len(p.kept) >= 2*p.most+100 {
		p.cut()
	}
}

// cut forgets all but the best.
func (p *banPage) cut() {
	slices.SortFunc(p.kept, func(a, b banOf) int { return p.better(&a, &b) })
	if len(p.kept) > p.most {
		p.kept = p.kept[:p.most]
	}
	if len(p.kept) == p.most {
		worst := p.kept[p.most-1]
		p.worst = &worst
	}
}

// gather goes through the bans of a jail.
func (p *banPage) gather(name string, each func(func([]ban.Ban) bool) error) error {
	return each(func(bans []ban.Ban) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if bans == nil { // all over again: what was told of this jail counts no more
			p.problem = append(p.problem, fmt.Sprintf("jail %s was started anew meanwhile: some of its bans may be counted twice", name))
		}
		for i := range bans {
			b := banOf{name, bans[i]}
			p.look(&b)
		}
		return !p.over
	})
}

// page is what was gathered.
func (p *banPage) page() (out control.BansPage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.cut()
	p.kept = slices.CompactFunc(p.kept, func(a, b banOf) bool { return a.jail == b.jail && a.ID == b.ID })
	more := len(p.kept) == p.most
	if more {
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
			out.Next = p.order.place(&p.kept[n-1]).Text()
		}
		if prev {
			out.Prev = p.order.place(&p.kept[0]).Text()
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
			p.problem = append(p.problem, fmt.Sprintf("jail %s has not told all of its bans in %v: some are missing here", name, control.SearchPatience))
		}
		p.mu.Unlock()
	}
	return p.page(), nil
}

package web

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"bailiff/pkg/safefile"
)

// Where an address is, and whose network it is in, as files of the operator's say (MaxMind's format:
// GeoLite2, DB-IP, IPinfo). There are none of ours.

// Place is what is known of an address.
type Place struct {
	Country string // ISO 3166-1, two letters; empty: not known
	Name    string // of the country
	Network string // AS number and name; empty: not known
}

func (p Place) String() string {
	var parts []string
	for _, t := range []string{p.Name, p.Network} {
		if t != "" {
			parts = append(parts, t)
		}
	}
	return strings.Join(parts, " · ")
}

// places are the files that are open.
type places struct {
	mu     sync.Mutex
	paths  []string
	open   []*maxminddb.Reader
	looked time.Time
	disk   disk
	late   *loaded                                       // what is still read; nil: nothing is
	read   func(path string, most int64) ([]byte, error) // nil: safefile.ReadFile
}

// forget has the files be read anew: there may be others under their names.
func (p *places) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paths = nil
}

// loaded is what was read of files.
type loaded struct {
	paths []string
	open  []*maxminddb.Reader
	wrong []error
}

// load reads the files. What can't be had in time is there when it has come.
func (p *places) load(warn func(string)) {
	read := p.read
	if read == nil {
		read = safefile.ReadFile
	}
	got := &loaded{paths: p.paths}
	if p.disk.busy() || !p.disk.ask(func() { got.from(read) }) {
		if p.late == nil {
			p.late = got
		}
		warn(fmt.Sprintf("[web] mmdb %s: %v: countries and networks are not shown", strings.Join(p.paths, ", "), errDisk))
		return
	}
	p.take(got, warn)
}

func (l *loaded) from(read func(string, int64) ([]byte, error)) {
	for _, path := range l.paths {
		data, err := read(path, mmdbMost)
		var r *maxminddb.Reader
		if err == nil {
			r, err = maxminddb.OpenBytes(data)
		}
		if err != nil {
			l.wrong = append(l.wrong, fmt.Errorf("%s: %w: countries and networks of it are not shown", path, err))
			continue
		}
		l.open = append(l.open, r)
	}
}

func (p *places) take(l *loaded, warn func(string)) {
	p.open = l.open
	for _, err := range l.wrong {
		warn("[web] mmdb " + err.Error())
	}
}

// placesEvery is how often it is looked for files that could not be read, and mmdbMost how long one may be: it
// is read into memory, since one that is cut while it is mapped would end the daemon.
const (
	placesEvery = time.Minute
	mmdbMost    = 256 << 20
)

// of is what the files say of an address. What can't be read of them is told.
func (p *places) of(paths []string, a netip.Addr, now time.Time, warn func(string)) (out Place) {
	if len(paths) == 0 || !a.IsValid() {
		return out
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.late; l != nil && !p.disk.busy() {
		if p.late = nil; slices.Equal(l.paths, p.paths) {
			p.take(l, warn)
		}
	}
	if !slices.Equal(paths, p.paths) || len(p.open) < len(paths) && now.Sub(p.looked) > placesEvery {
		p.paths, p.open, p.looked = slices.Clone(paths), nil, now
		p.load(warn)
	}
	for _, r := range p.open {
		var rec struct {
			Country struct {
				Code  string            `maxminddb:"iso_code"`
				Names map[string]string `maxminddb:"names"`
			} `maxminddb:"country"`
			Number uint32 `maxminddb:"autonomous_system_number"`
			Org    string `maxminddb:"autonomous_system_organization"`
		}
		if err := r.Lookup(a).Decode(&rec); err != nil {
			continue
		}
		if c := rec.Country; c.Code != "" && out.Country == "" {
			out.Country, out.Name = clipped(c.Code, 2), clipped(c.Names["en"], 60)
			if out.Name == "" {
				out.Name = out.Country
			}
		}
		if rec.Number > 0 && out.Network == "" {
			out.Network = "AS" + strconv.FormatUint(uint64(rec.Number), 10) + " " + clipped(rec.Org, 80)
		}
	}
	return out
}

package web

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/history"
	"bailiff/pkg/jail"
)

// The pages, and who may have them. What asks is a viewer's; the API judges again.
var pages = []page{
	{"GET /{$}", control.Reader, false, overviewPage},
	{"GET /bans", control.Reader, false, bansPage},
	{"GET /find", control.Reader, false, find},
	{"GET /address", control.Reader, false, addressPage},
	{"GET /jails", control.Reader, false, jailsPage},
	{"GET /jails/{jail}", control.Reader, false, jailPage},
	{"GET /jails/{jail}/settings", control.Reader, false, settingsPage},
	{"POST /jails/{jail}/settings", control.Admin, false, changeSettings},
	{"POST /jails/{jail}/forget", control.Admin, false, forgetSettings},
	{"GET /doctor", control.Reader, false, doctorPage},
	{"GET /filter", control.Operator, false, tryPage},
	{"POST /filter", control.Operator, false, try},
	{"GET /replay", control.Operator, false, replayPage},
	{"POST /replay", control.Operator, false, runReplay},
	{"POST /filter/save", control.Admin, false, saveFilter},
	{"GET /events", control.Reader, false, eventsPage},
	{"GET /events/rows", control.Reader, false, eventRows},
	{"GET /stream", control.Reader, false, stream},
	{"POST /unban", control.Operator, false, unban},
	{"POST /ban", control.Operator, false, ban},
	{"POST /allow", control.Operator, false, allow},
	{"GET /never", control.Reader, false, neverPage},
	{"POST /never", control.Admin, false, never},
	{"GET /fleet", control.Reader, false, fleetPage},
	{"POST /fleet/ban", control.Operator, false, fleetBan},
	{"POST /fleet/unban", control.Operator, false, fleetUnban},
	{"POST /reload", control.Operator, false, reload},
	{"GET /login", control.Reader, true, loginPage},
	{"POST /login", control.Reader, true, login},
	{"GET /login/{token}", control.Reader, true, linkPage},
	{"POST /login/{token}", control.Reader, true, linkLogin},
	{"POST /logout", control.Reader, false, logout},
	{"POST /theme", control.Reader, true, setTheme},
	{"GET /assets/{file}", control.Reader, true, asset},
	{"/", control.Reader, false, nothing},
}

// upload reports whether a page takes more than a form.
func (p *page) upload() bool { return p.pattern == "POST /replay" }

// uploadMost is how many bytes such a page takes.
const uploadMost = control.ReplayBytes + formMost

func nothing(*ask) error { return &pageError{http.StatusNotFound, errors.New(text("error.nothing"))} }

// jailRow is a jail in a table.
type jailRow struct {
	jail.Status
	State         state
	Held, HeldAll int // bans, or what would be
	FileNames     string
}

// state is how something is, in a word.
type state struct{ Word, Tone string }

func stateOf(j *jail.Status) state {
	switch {
	case j.Error != "":
		return state{text("state.error"), "bad"}
	case j.Busy != "":
		return state{text("state.busy"), "warn"}
	case len(problemsOf(j)) > 0:
		return state{text("state.problem"), "warn"}
	case j.List:
		return state{text("state.list"), "calm"}
	case j.Observe:
		return state{text("state.observe"), "calm"}
	}
	return state{text("state.running"), "good"}
}

// problemsOf are those of a jail and of its logs.
func problemsOf(j *jail.Status) (out []string) {
	out = slices.Clone(j.Problems)
	for _, f := range j.Files {
		if f.Error != "" {
			out = append(out, f.Path+": "+f.Error)
		}
	}
	return out
}

func rowsOf(jails []jail.Status) []jailRow {
	rows := make([]jailRow, len(jails))
	for i, j := range jails {
		r := jailRow{Status: j, State: stateOf(&j), Held: j.Banned, HeldAll: j.TotalBanned}
		if j.Observe {
			r.Held, r.HeldAll = j.WouldBan, j.TotalWouldBan
		}
		var names []string
		for n, f := range j.Files {
			if n == 3 {
				names = append(names, "…")
				break
			}
			names = append(names, f.Path)
		}
		r.FileNames = strings.Join(names, ", ")
		rows[i] = r
	}
	return rows
}

// problem is something that is wrong now.
type problem struct{ Jail, Text string }

func problemsOfAll(s *control.Status) (out []problem) {
	for _, p := range s.Problems {
		out = append(out, problem{"", p})
	}
	for _, j := range s.Jails {
		if j.Error != "" {
			out = append(out, problem{j.Name, j.Error})
		}
		for _, p := range problemsOf(&j) {
			out = append(out, problem{j.Name, p})
		}
	}
	return out
}

func overviewPage(a *ask) error {
	st, err := a.api().Status()
	if err != nil {
		return err
	}
	d := struct {
		Banned, Failed, Listed, Jails, Broken int
		Dry                                   bool
		Problems                              []problem
		Waiting                               []string
		List                                  []jailRow
		Events                                eventList
		Chart                                 chart
		Tops                                  []topTable
		Doctor                                looked
		Map                                   *worldMap
		Fleet                                 *control.FleetStatus
	}{Fleet: st.Fleet, Jails: len(st.Jails), Dry: st.DryRun, Problems: problemsOfAll(&st), Waiting: st.Waiting, List: rowsOf(st.Jails)}
	for _, j := range st.Jails {
		switch {
		case j.List:
			d.Listed += j.Banned
		default:
			d.Banned += j.Banned
			d.Failed += j.Failed
		}
		if j.Error != "" {
			d.Broken++
		}
	}
	s := spans[1]
	for _, of := range spans {
		if of.Name == a.r.URL.Query().Get("span") {
			s = of
		}
	}
	now := a.s.o.Now()
	h, err := a.api().History(history.Query{From: now.Add(-s.last)})
	if err != nil {
		d.Problems = append(d.Problems, problem{"", err.Error()})
	} else {
		d.Chart = chartOf(h, text("chart."+s.Name))
	}
	for _, of := range spans {
		d.Chart.Spans = append(d.Chart.Spans, chosen{of.Name, text("span." + of.Name), "/?span=" + of.Name, of.Name == s.Name})
	}
	for _, what := range []string{"ip", "network", "user"} {
		t, err := a.top(what, s)
		if err != nil {
			d.Problems = append(d.Problems, problem{"", err.Error()})
			continue
		}
		d.Tops = append(d.Tops, t)
	}
	if len(a.cfg.MMDB) > 0 {
		if t, m, err := a.countries(s); err == nil { // why not was said above
			d.Tops, d.Map = append(d.Tops, t), &m
		}
	}
	d.Doctor = a.look("", lookedAge)
	d.Doctor.Wrong = d.Doctor.Wrong[:min(len(d.Doctor.Wrong), wrongShown)] // the others are a click away
	d.Problems = slices.DeleteFunc(d.Problems, func(p problem) bool {      // said below, with a remedy
		return slices.ContainsFunc(d.Doctor.Wrong, func(f findingRow) bool {
			return f.Jail == p.Jail && p.Jail != "" && strings.Contains(f.Cause+"\n"+strings.Join(f.Seen, "\n"), p.Text)
		})
	})
	if d.Events, err = a.lastEvents(events.Filter{}, 12); err != nil {
		d.Problems = append(d.Problems, problem{"", err.Error()})
	}
	return a.show(http.StatusOK, "overview", text("overview.title"), d)
}

func jailsPage(a *ask) error {
	st, err := a.api().Status()
	if err != nil {
		return err
	}
	return a.show(http.StatusOK, "jails", text("jails.title"), struct {
		List []jailRow
		May  bool
	}{rowsOf(st.Jails), a.who.role >= control.Operator})
}

func jailPage(a *ask) error {
	name := a.r.PathValue("jail")
	st, err := a.api().Status() // with no bans: there may be a million
	if err != nil {
		return err
	}
	at := slices.IndexFunc(st.Jails, func(j jail.Status) bool { return j.Name == name })
	if at < 0 {
		return &pageError{http.StatusNotFound, &control.NotFoundError{Jail: name}}
	}
	j := st.Jails[at]
	d := struct {
		Jail     jail.Status
		State    state
		Problems []string
		BansURL  string
		May      bool
		Events   eventList
		Chart    chart
	}{Jail: j, State: stateOf(&j), Problems: slices.Concat(j.Problems, j.ByCommands), BansURL: "/bans?jail=" + url.QueryEscape(name), May: a.who.role >= control.Operator}
	if !j.List {
		h, err := a.api().History(history.Query{From: a.s.o.Now().Add(-spans[1].last), Jail: name})
		if err != nil {
			d.Problems = append(d.Problems, err.Error())
		} else {
			d.Chart = chartOf(h, text("chart.day"))
		}
	}
	if d.Events, err = a.lastEvents(events.Filter{Jail: name}, 50); err != nil {
		d.Problems = append(d.Problems, err.Error())
	}
	return a.show(http.StatusOK, "jail", name, d)
}

// find leads to an address's page, or searches for what is none.
func find(a *ask) error {
	q := strings.TrimSpace(a.r.URL.Query().Get("q"))
	if addr, err := netip.ParseAddr(q); err == nil {
		a.redirect(addressURL(addr.String()))
		return nil
	}
	a.redirect("/bans?q=" + url.QueryEscape(q))
	return nil
}

// place is where an address, or a network's first one, is.
func (a *ask) place(ip string) Place {
	ip, _, _ = strings.Cut(ip, "/")
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return Place{}
	}
	return a.s.places.of(a.cfg.MMDB, addr, a.s.o.Now(), func(text string) { a.s.often.tell(text, a.s.o.Warn, text) })
}

// bannable are the jails in which somebody can be banned by hand.
func bannable(jails []jail.Status) (names []string) {
	for _, j := range jails {
		if !j.List && !j.Observe && j.Error == "" {
			names = append(names, j.Name)
		}
	}
	return names
}

func addressPage(a *ask) error {
	id := strings.TrimSpace(a.r.URL.Query().Get("ip"))
	type data struct {
		Why           control.Why
		Out, May      bool
		Inside, Lists []string
		Allowed       *time.Time
		Longer        []longer
		Never         neverForm
		Bannable      []string
		Events        eventList
		Whois         string
		Place         string
	}
	d := data{May: a.who.role >= control.Operator}
	if id == "" {
		return a.show(http.StatusOK, "address", text("search"), d)
	}
	api := a.api()
	var err error
	if d.Why, err = api.Why(id); err != nil {
		return err
	}
	d.Out = len(d.Why.Banned) > 0 || slices.ContainsFunc(d.Why.Lists, func(w control.Wider) bool { return !w.Part }) ||
		len(d.Why.Fleet) > 0 && slices.ContainsFunc(d.Why.Kernel, func(k control.WhyKernel) bool { return strings.HasPrefix(k.Jail, "fleet-") })
	for _, w := range d.Why.Inside {
		d.Inside = append(d.Inside, text("address.is", "what", w.String()))
	}
	for _, w := range d.Why.Lists {
		d.Lists = append(d.Lists, text("address.is", "what", w.String()))
	}
	allowed, err := api.Allowed()
	if err != nil {
		return err
	}
	for _, w := range allowed {
		if w.IP == d.Why.IP {
			d.Allowed = &w.Until
		}
	}
	if d.May {
		st, err := api.Status()
		if err != nil {
			return err
		}
		d.Bannable, d.Longer = bannable(st.Jails), longerOf(d.Why.Banned)
		if d.Never, err = a.neverForm(&d.Why, st.Jails); err != nil {
			return err
		}
	}
	list := d.Why.Events
	slices.Reverse(list)
	d.Events = a.eventList(list, events.Filter{ID: d.Why.IP}, control.EventsMost)
	if !d.Why.Name {
		d.Place = a.place(d.Why.IP).String()
		d.Whois = "https://rdap.org/ip/" + d.Why.IP
	}
	return a.show(http.StatusOK, "address", d.Why.IP, d)
}

// targets are whom a form is about: one, or those that were chosen.
func (a *ask) targets() (list []banKey) {
	if ip := strings.TrimSpace(a.form("ip")); ip != "" {
		list = append(list, banKey{ip: ip})
	}
	for _, key := range a.r.PostForm["ban"] {
		jail, ip, ok := strings.Cut(key, " ")
		name, err := url.QueryUnescape(jail)
		if ok && err == nil && ip != "" {
			list = append(list, banKey{name, ip})
		}
	}
	return list
}

// banKey is a ban that was chosen.
type banKey struct{ jail, ip string }

func (k banKey) text() string { return url.QueryEscape(k.jail) + " " + k.ip }

// done sends the browser on to where it was.
func (a *ask) done() error {
	a.redirect(here(cmp.Or(a.form("to"), "/")))
	return nil
}

func (a *ask) noteDone(pending, what string) {
	if pending != "" {
		what = text("done.pending", "text", what, "pending", pending)
	}
	a.note(false, what)
}

func unban(a *ask) error {
	list := a.targets()
	if len(list) == 0 {
		a.note(true, text("error.from"))
		return a.done()
	}
	by := map[string][]string{}
	for _, k := range list {
		by[k.jail] = append(by[k.jail], k.ip)
	}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		got, err := a.api().Unban(control.UnbanRequest{IPs: by[name], Jail: name})
		if err != nil {
			a.note(true, err.Error())
			continue
		}
		a.unbanned(got, func(r *control.UnbanResult) string { return text("done.nounban", "ip", r.IP) })
	}
	return a.done()
}

// unbanned notes what came of it that bans are lifted; none is what is said of one of whom there was none, empty: nothing.
func (a *ask) unbanned(got []control.UnbanResult, none func(*control.UnbanResult) string) {
	for _, r := range got {
		switch {
		case r.Error != "":
			a.note(true, text("done.error", "ip", r.IP, "error", r.Error))
			continue
		case r.Count > 0 || r.Pending != "":
			a.noteDone(r.Pending, text("done.unban", "ip", r.IP, "jails", strings.Join(r.Jails, ", ")))
		default:
			if said := none(&r); said != "" {
				a.note(true, said)
			}
		}
		if still := r.Still(); still != "" {
			a.note(true, text("done.still", "ip", r.IP, "still", still))
		}
	}
}

func allow(a *ask) error {
	ip := strings.TrimSpace(a.form("ip"))
	req := control.AllowRequest{IPs: []string{ip}, End: a.form("end") != ""}
	if !req.End {
		s, err := config.ParseTime(cmp.Or(a.form("for"), "1h"))
		if err != nil || s <= 0 {
			a.note(true, text("error.time", "text", strconv.Quote(clipped(a.form("for"), 40))))
			return a.done()
		}
		req.Seconds = s.Seconds()
	}
	got, err := a.api().Allow(req)
	return a.decided(got, err, func(r *control.AllowResult) string {
		if r.Until == nil {
			return text("done.allowend", "ip", r.IP)
		}
		return text("done.allow", "ip", r.IP, "until", r.Until.Local().Format("2006-01-02 15:04:05"))
	})
}

func reload(a *ask) error {
	r, err := a.api().Reload()
	switch {
	case err != nil:
		a.note(true, err.Error())
	case r.Anew != "":
		a.note(false, r.Anew)
	default:
		a.note(false, text("jails.reloaded", "started", len(r.Started), "changed", len(r.Changed), "stopped", len(r.Stopped)))
		for _, e := range r.Errors {
			a.note(true, text("jails.reloadfailed", "text", e))
		}
	}
	return a.done()
}

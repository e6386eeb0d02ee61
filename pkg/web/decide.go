package web

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/jail"
)

// What somebody decides about an address: it is banned, until when, or never.

// longer is a ban whose end may be changed.
type longer struct {
	N        int
	IP, Jail string
}

// longerMost is how many bans of an address have a form each.
const longerMost = 20

func longerOf(bans []jail.BanStatus) (out []longer) {
	for i, b := range bans[:min(len(bans), longerMost)] {
		out = append(out, longer{i, b.IP, b.Jail})
	}
	return out
}

func ban(a *ask) error {
	ip, name := strings.TrimSpace(a.form("ip")), a.form("jail")
	if ip == "" || name == "" {
		a.note(true, text("error.from"))
		return a.done()
	}
	req := control.BanRequest{IPs: []string{ip}}
	if last := a.form("for"); last != "" {
		t, err := config.ParseTime(last)
		if err != nil || t == 0 {
			a.note(true, text("error.time", "text", strconv.Quote(clipped(last, 40))))
			return a.done()
		}
		if req.Seconds = t.Seconds(); t < 0 {
			req.Seconds = -1
		}
	}
	got, err := a.api().Ban(name, req)
	if err != nil {
		a.note(true, err.Error())
		return a.done()
	}
	for _, r := range got {
		switch {
		case r.Error != "":
			a.note(true, text("done.error", "ip", r.IP, "error", r.Error))
		case r.Permanent:
			a.noteDone(r.Pending, text("done.banforever", "ip", r.IP, "jail", name))
		case r.Until != nil:
			a.noteDone(r.Pending, text("done.banuntil", "ip", r.IP, "jail", name, "until", r.Until.Local().Format("2006-01-02 15:04:05")))
		case r.Added:
			a.noteDone(r.Pending, text("done.ban", "ip", r.IP, "jail", name))
		case r.By != "":
			a.note(false, text("done.bannedby", "ip", r.IP, "by", r.By))
		default:
			a.note(false, text("done.banned", "ip", r.IP, "jail", name))
		}
		if r.Note != "" {
			a.note(true, r.Note)
		}
	}
	return a.done()
}

// neverForm is what is said of an address that is never to be banned.
type neverForm struct {
	May   bool
	Jails []string // in which it may be said
	Said  []control.Never
}

func (a *ask) neverForm(w *control.Why, jails []jail.Status) (f neverForm, err error) {
	if w.Name {
		return f, nil
	}
	all, err := a.api().Nevers()
	if err != nil {
		return f, err
	}
	for _, n := range all {
		if n.IP == w.IP {
			f.Said = append(f.Said, n)
		}
	}
	f.May = a.who.role >= control.Admin
	for _, j := range jails {
		f.Jails = append(f.Jails, j.Name)
	}
	return f, nil
}

// neverPage is who is never banned, and who is let in for a while, by somebody's word.
func neverPage(a *ask) error {
	var d struct {
		Never   []control.Never
		Allowed []control.Allowance
		May     bool
		MayLet  bool
	}
	var err error
	if d.Never, err = a.api().Nevers(); err != nil {
		return err
	}
	if d.Allowed, err = a.api().Allowed(); err != nil {
		return err
	}
	slices.SortStableFunc(d.Never, func(a, b control.Never) int { return b.Since.Compare(a.Since) })
	d.May, d.MayLet = a.who.role >= control.Admin, a.who.role >= control.Operator
	return a.show(http.StatusOK, "never", text("never.title"), d)
}

func never(a *ask) error {
	req := control.NeverRequest{IPs: []string{strings.TrimSpace(a.form("ip"))}, Jail: a.form("jail"), End: a.form("end") != ""}
	got, err := a.api().Never(req)
	return a.decided(got, err, func(r *control.AllowResult) string {
		if req.End {
			return text("done.neverend", "ip", r.IP)
		}
		return text("done.never", "ip", r.IP)
	})
}

// decided notes what came of it that addresses are let in, or never banned; what is what is said of one for whom it
// was done.
func (a *ask) decided(got []control.AllowResult, err error, what func(*control.AllowResult) string) error {
	if err != nil {
		a.note(true, err.Error())
		return a.done()
	}
	for _, r := range got {
		if r.Error != "" {
			a.note(true, text("done.error", "ip", r.IP, "error", r.Error))
			continue
		}
		a.noteDone(r.Pending, what(&r))
		if still := r.Still(); still != "" {
			a.note(true, text("done.still", "ip", r.IP, "still", still))
		}
	}
	return a.done()
}

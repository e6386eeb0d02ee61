package jail

import (
	"fmt"
	"net/netip"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/filter"
	"bailiff/pkg/firewall"
	"bailiff/pkg/guard"
	"bailiff/pkg/iplist"
)

// Who is banned need not be an address: a filter may say that it is a user, a session, a
// path (<F-ID>). Such a ban is counted, kept and handed to actions like any other; the
// kernel's sets hold addresses only.

// change is what a jail wants of the kernel for one ban.
type change struct {
	ID      ban.ID
	IP      ban.Address   // as the ban has it
	Left    time.Duration // 0: for ever
	Replace bool          // it may be there, and is to end then
	Remove  bool
	Written int64 // as in firewall.Change
}

// enforced has the kernel's sets changed.
func (j *Jail) enforced(changes ...change) {
	out := make([]firewall.Change, 0, len(changes))
	for _, c := range changes {
		element := ban.Ban{ID: c.ID, IP: c.IP}.Element()
		if !element.IsValid() {
			if !c.Remove {
				j.notHeld(c.ID)
			}
			continue
		}
		if c.IP.IsValid() || j.bans.IsBeside(element) { // several bans may want it
			b, ok := j.holder(element)
			c = change{Remove: !ok, Written: c.Written}
			if ok {
				c.Replace, c.Left = true, b.Left(j.deps.Clock.Now())
			}
		}
		out = append(out, firewall.Change{Jail: j.Config.Name, ID: element.Prefix(), Left: c.Left, Replace: c.Replace, Remove: c.Remove, Written: c.Written})
	}
	if len(out) > 0 {
		j.deps.Firewall.Push(out...)
	}
}

// holder returns the ban that an address or network is to be shut out for. Who is never
// banned is not shut out for somebody else's.
func (j *Jail) holder(element ban.ID) (ban.Ban, bool) {
	b, ok := j.bans.Holder(element)
	if ok && b.ID != element && !b.Forced && j.why(element).Some() {
		return ban.Ban{}, false
	}
	return b, ok
}

// spared tells of a ban whose address stays open, since it is never banned.
func (j *Jail) spared(b ban.Ban) {
	if !b.IP.IsValid() {
		return
	}
	if e := b.Element(); e != b.ID {
		if why := j.why(e); why.Some() {
			j.log.Info(fmt.Sprintf("[%s] Ignore %s by %s: the ban of %s does not shut it out", j.Config.Name, ban.Told(e), why.Log(), b.Told()))
		}
	}
}

// notHeld says once that the kernel can't hold a ban.
func (j *Jail) notHeld(id ban.ID) {
	if j.Configured.Unenforced || j.unheld.Swap(true) {
		return
	}
	j.deps.Log.With("component", "actions").Warn(fmt.Sprintf("[%s] %s: %s (logged once for this jail)", j.Config.Name, ban.Told(id), j.Unheld()))
}

// Unheld says what becomes of a ban of what is no address, where the jail bans by
// nftables; empty: its actions do all of it.
func (j *Jail) Unheld() string {
	switch {
	case j.Configured.Unenforced:
		return ""
	case j.actions.Empty():
		return "nftables can't hold bans of ids that are no addresses, and the jail has no other action: they are listed and kept, but shut nobody out"
	}
	return "nftables can't hold bans of ids that are no addresses: they are left to the jail's other actions"
}

// namesMost is how many bytes the names may take that a jail bans for what lines say. A
// test has fewer.
var namesMost = 64 << 20

// tooManyNames reports whether there is no room for another ban of a name, and tells so.
func (j *Jail) tooManyNames(id ban.ID) bool {
	if !id.IsName() || j.bans.NameBytes()+id.Size() <= namesMost {
		return false
	}
	if now := j.deps.Clock.Now(); j.namesTold.IsZero() || now.Sub(j.namesTold) > time.Minute {
		j.namesTold = now
		j.deps.Log.With("component", "actions").Error(fmt.Sprintf("[%s] %s is not banned: %d MiB of ids that are no addresses are banned already, and there is no room for more (bantime, maxretry)",
			j.Config.Name, ban.Told(id), namesMost>>20))
	}
	return true
}

// whoIs tells whom a failure counts for; nobody, and why, if it can't be told.
func whoIs(f *filter.Failure) (id ban.ID, why string) {
	if f.IP.IsValid() && f.Addr.IsValid() && f.Addr.Contains(f.IP) {
		f.IP = netip.Addr{} // the same one, or the network that the expression names
	}
	if f.IP.IsValid() {
		return whoBeside(f), ""
	}
	switch {
	case f.Addr.IsValid():
		return ban.Of(f.Addr), ""
	case f.Free && filter.ParseID(f.ID, -1).IsValid(): // of usedns = raw
		return ban.Of(filter.ParseID(f.ID, -1)), ""
	case filter.ParseID(f.ID, 0).IsValid():
		return id, fmt.Sprintf("%q is a network: it matched, but is not banned (only what <SUBNET> or <CIDR> matches is, from /%d, IPv6 /%d, on)",
			f.ID, iplist.Shortest4, iplist.Shortest6)
	case !f.Free:
		return id, fmt.Sprintf("%q is no address: it matched, but can't be banned", f.ID)
	}
	if id = ban.Named(f.ID); !id.IsValid() {
		if f.ID == "" {
			return id, "a line matched with an empty id (<F-ID>): there is nobody to ban"
		}
		return id, fmt.Sprintf("%.60q… matched, but is not counted: an id has %d bytes at most, not %d", f.ID, ban.MaxName, len(f.ID))
	}
	return id, ""
}

// whoBeside tells whom a failure counts for whose line tells an address beside the id. The
// id is a text that the client may have chosen: whatever it is, the failure counts. Where it
// can't be an id, it is the address'.
func whoBeside(f *filter.Failure) ban.ID {
	if id := idOf(f.ID); id.IsValid() {
		return id
	}
	id := single(f.IP)
	f.IP = netip.Addr{}
	return id
}

// keepIP keeps the address beside an ID: that of the first failure, but rather one that may
// be shut out.
func (j *Jail) keepIP(id ban.ID, ip netip.Addr) {
	if first := j.kept.ip(id); !first.IsValid() || first.Addr() != ip && j.why(single(first.Addr())).Some() {
		j.kept.setIP(id, ip)
	}
}

// idOf reads who is banned as Name wrote it.
func idOf(name string) ban.ID {
	if p := filter.ParseID(name, 0); p.IsValid() {
		return ban.Of(p)
	}
	return ban.Named(name)
}

// single is an address.
func single(a netip.Addr) ban.ID { return ban.Of(netip.PrefixFrom(a, a.BitLen())) }

// TooWide reports whether it is a network that is not banned without force.
func TooWide(id ban.ID) bool { return !id.IsName() && iplist.TooWide(id.Prefix()) }

// whyBan returns why a ban may not be. Beside an address, the ID is only a text, be it that
// of an address: only ignoreip with that very text ignores it. Whether the address is shut
// out is for spared and holder to tell.
func (j *Jail) whyBan(b ban.Ban) guard.Reason {
	if b.IsBeside() {
		return j.view.Rules().WhyName(ban.Name(b.ID))
	}
	return j.why(b.ID)
}

// why returns why somebody may not be banned.
func (j *Jail) why(id ban.ID) guard.Reason {
	if id.IsName() {
		return j.view.Rules().WhyName(ban.Name(id))
	}
	return j.view.Rules().Why(id.Prefix())
}

package stage

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	_ "modernc.org/sqlite" // reads what a daemon had kept when it was killed

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/link"
)

// Kills is what came of a host's being killed again and again.
type Kills struct {
	// Kills are those by SIGKILL; Phases is how far the newest ban was at each.
	Kills  int
	Phases map[string]int
	// Bans are those that a jail has acknowledged, Lifts those that a command has; Lost and Resurrected what became of them.
	Bans, Lifts       int
	Lost, Resurrected []string
	// Twice are bans that the stream had under more than one number.
	Twice []string
	// Wrong is what else is not as it was.
	Wrong []string
}

// String has all that in a line.
func (k *Kills) String() string {
	var phases []string
	for _, p := range slices.Sorted(maps.Keys(k.Phases)) {
		phases = append(phases, fmt.Sprintf("%s %d", p, k.Phases[p]))
	}
	return fmt.Sprintf("%d kills (%s): %d bans and %d lifts acknowledged, %d lost, %d resurrected, %d told twice", k.Kills, strings.Join(phases, ", "), k.Bans, k.Lifts, len(k.Lost), len(k.Resurrected), len(k.Twice))
}

// kill is the state of Kill.
type kill struct {
	*Stage
	k     *Kills
	first *Host
	r     *rand.Rand
	// jailed are whom the first host's log has fail, in that order; by the second host's hand others.
	jailed, byHand []string
	acked          map[string]bool // a jail had it in its database when it was killed
	lifted         map[string]bool // a command has said so
	asked          map[string]bool // a lift whose command did not come back
	cursor         int64
	heard          *hearing
}

// Kill kills the first host's daemon so often at chance's moments while it bans, lifts, tells and is told; every fifth time
// the hub is asleep, so that what is told waits.
func (s *Stage) Kill(ctx context.Context, times int) (*Kills, error) {
	if err := s.joins(); err != nil {
		return nil, err
	}
	x := &kill{
		Stage: s, k: &Kills{Phases: map[string]int{}}, first: s.hosts[0], r: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 24)),
		acked: map[string]bool{}, lifted: map[string]bool{}, asked: map[string]bool{},
	}
	var err error
	if x.heard, err = s.hear(s.hosts[2]); err != nil {
		return nil, err
	}
	defer x.heard.nc.Close()
	for n := range times {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := x.life(n); err != nil {
			return nil, fmt.Errorf("life %d: %w%s", n, err, s.logs())
		}
	}
	return x.k, x.judge()
}

// life is one, of which the end comes at some moment.
func (x *kill) life(n int) error {
	if n > 0 {
		if err := x.first.run(); err != nil {
			return err
		}
		if err := x.until(fmt.Sprintf("life %d begins", n), func() bool { _, err := x.first.command("status"); return err == nil }); err != nil {
			return err
		}
	}
	asleep := n%5 == 4
	if asleep {
		if err := x.hub.Process.Signal(syscall.SIGSTOP); err != nil {
			return err
		}
	}
	who := fmt.Sprintf("203.0.113.%d", 64+n)
	if n >= 100 {
		who = fmt.Sprintf("192.0.2.%d", n)
	}
	var beside sync.WaitGroup
	// Beside the ban, somebody lifts one from before: the host itself, or the second one.
	if n%2 == 1 && n > 2 && !asleep {
		one, by := x.jailed[n-3], x.hosts[n%4/3]
		beside.Go(func() { x.lift(by, one) })
	}
	if n%3 == 2 && !asleep {
		one := fmt.Sprintf("203.0.113.%d", 192+n%60)
		beside.Go(func() {
			if _, err := x.hosts[1].command("ban", "login", one, "--for", "2h"); err == nil {
				x.byHand = append(x.byHand, one)
			}
		})
	}
	x.jailed = append(x.jailed, who)
	if err := x.first.fails(who, 3); err != nil {
		return err
	}
	// The moment is what is tried: most things happen soon.
	if some := x.r.Float64(); asleep { // right behind the command's word
		x.lift(x.first, x.jailed[n-3])
	} else {
		time.Sleep(time.Duration(some * some * some * float64(400*time.Millisecond)))
	}
	if err := x.first.daemon.Process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	_ = x.first.daemon.Wait()
	if asleep {
		if err := x.hub.Process.Signal(syscall.SIGCONT); err != nil {
			return err
		}
	}
	beside.Wait()
	x.k.Kills++
	if err := x.autopsy(who); err != nil {
		return err
	}
	// Who is told of is lifted where it is known, while its own host is dead: that must not ban him again by the same lines.
	if n%3 == 0 && x.told(who) {
		x.lift(x.hosts[1], who)
	}
	return nil
}

// told reports whether the hub has told of a ban by the first host.
func (x *kill) told(who string) bool {
	x.heard.mu.Lock()
	defer x.heard.mu.Unlock()
	return x.heard.newest[fleet.BanKey(x.first.Name, "login", prefixOf(who)).String()].Rev != 0
}

// lift lifts somebody, and notes what the command said.
func (x *kill) lift(by *Host, who string) {
	out, err := by.command("unban", who)
	x.heard.mu.Lock()
	defer x.heard.mu.Unlock()
	switch {
	case err == nil && strings.Contains(out, "fleet-login"):
		x.lifted[who] = true
	default:
		x.asked[who] = true
	}
}

// autopsy looks at what the host had kept when it was killed.
func (x *kill) autopsy(who string) error {
	// A copy, since who opens it rolls back what was under way.
	dir, err := os.MkdirTemp(x.dir, "autopsy")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, os.DirFS(x.first.path("state"))); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "bailiff.sqlite3"))
	if err != nil {
		return err
	}
	defer db.Close()
	jailed, err := column(db, "SELECT ip FROM bips WHERE jail = 'login'")
	if err != nil {
		return err
	}
	out, err := column(db, "SELECT key FROM bailiff_fleet_out")
	if err != nil {
		return err
	}
	entries, err := column(db, "SELECT key || ' ' || rev FROM bailiff_fleet_entries")
	if err != nil {
		return err
	}
	var cursor int64
	if err := db.QueryRow("SELECT cursor FROM bailiff_fleet_state").Scan(&cursor); err != nil {
		return err
	}
	for one := range jailed {
		x.acked[one] = true
	}
	key := fleet.BanKey(x.first.Name, "login", prefixOf(who)).String()
	x.heard.mu.Lock()
	defer x.heard.mu.Unlock()
	newest := x.heard.newest
	told := newest[key].Rev != 0
	held := false
	for e := range entries {
		held = held || strings.HasPrefix(e, key+" ")
	}
	switch {
	case !jailed[who] && !told:
		x.k.Phases["1 before the transaction"]++
	case !jailed[who]:
		x.k.Phases["2 told before the transaction"]++
	case out[key] && !told:
		x.k.Phases["3 in the outbox"]++
	case out[key]:
		x.k.Phases["4 stored by the hub"]++
	case !held:
		x.k.Phases["5 come back"]++
	default:
		x.k.Phases["6 kept with the cursor"]++
	}
	if cursor < x.cursor {
		x.k.Wrong = append(x.k.Wrong, fmt.Sprintf("the cursor went back from %d to %d", x.cursor, cursor))
	}
	x.cursor = cursor
	// What lies before the cursor is never asked for again: it has to be there.
	for k, s := range newest {
		if s.Rev <= uint64(cursor) && s.Key.Kind != fleet.Beat && !entries[fmt.Sprintf("%s %d", k, s.Rev)] {
			x.k.Wrong = append(x.k.Wrong, fmt.Sprintf("the cursor is at %d, and %s %d is not kept", cursor, k, s.Rev))
		}
	}
	return nil
}

func prefixOf(who string) netip.Prefix {
	a := netip.MustParseAddr(who)
	return netip.PrefixFrom(a, a.BitLen())
}

func column(db *sql.DB, query string) (map[string]bool, error) {
	rows, err := db.Query(query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string]bool{}
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all[s] = true
	}
	return all, rows.Err()
}

// judge lets the host live, and compares.
func (x *kill) judge() error {
	if err := x.first.run(); err != nil {
		return err
	}
	if err := x.settled(); err != nil {
		return err
	}
	for who := range x.asked { // nobody has said that it is done, so it is said once more
		if x.lifted[who] {
			continue
		}
		if out, err := x.hosts[1].command("unban", "--fleet", who); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if out, err := x.first.command("unban", who); err != nil && !strings.Contains(out, "is not banned") {
			return err
		}
	}
	if err := x.settled(); err != nil {
		return err
	}
	x.k.Bans, x.k.Lifts = len(x.acked), len(x.lifted)
	want := map[string]bool{}
	for _, who := range x.jailed {
		if !x.lifted[who] && !x.asked[who] {
			want[who] = true
		}
	}
	jail := maps.Clone(want)
	for _, who := range x.byHand {
		want[who] = true
	}
	same := func(h *Host, set string, want map[string]bool) bool {
		got, err := h.elements(set)
		return err == nil && maps.Equal(got, want)
	}
	// Lifts come a moment after all is told: wait for it, and then see what is not so.
	_ = x.until("the kernels of all hosts hold the same", func() bool {
		for _, h := range x.hosts {
			if !same(h, "fleet-login", want) {
				return false
			}
		}
		return same(x.first, "login", jail)
	})
	for _, h := range x.hosts {
		got, err := h.elements("fleet-login")
		if err != nil {
			return err
		}
		x.differ(h.Name, want, got)
	}
	got, err := x.first.elements("login")
	if err != nil {
		return err
	}
	x.differ("the jail of "+x.first.Name, jail, got)
	db, err := sql.Open("sqlite", "file:"+x.first.path("state/bailiff.sqlite3")+"?mode=ro&_pragma=busy_timeout(1000)")
	if err != nil {
		return err
	}
	defer db.Close()
	kept, err := column(db, "SELECT ip FROM bips WHERE jail = 'login'")
	if err != nil {
		return err
	}
	x.differ("the database of "+x.first.Name, jail, kept)
	x.heard.mu.Lock()
	defer x.heard.mu.Unlock()
	for key, revs := range x.heard.bans {
		if len(revs) > 1 {
			x.k.Twice = append(x.k.Twice, fmt.Sprintf("%s as %v", key, revs))
		}
	}
	return nil
}

// differ notes who is missing somewhere and who should not be there.
func (x *kill) differ(where string, want, got map[string]bool) {
	for who := range want {
		if !got[who] {
			x.k.Lost = append(x.k.Lost, who+" at "+where)
		}
	}
	for who := range got {
		if !want[who] {
			x.k.Resurrected = append(x.k.Resurrected, who+" at "+where)
		}
	}
}

// settled waits until nothing waits to be told and everything is read.
func (x *kill) settled() error {
	return x.until("everything is told and read", func() bool {
		for _, h := range x.hosts {
			out, err := h.command("fleet", "status", "--json")
			var st struct {
				Complete bool
				Waiting  int
			}
			if err != nil || json.Unmarshal([]byte(out), &st) != nil || !st.Complete || st.Waiting > 0 {
				return false
			}
		}
		return true
	})
}

// elements are the addresses in a host's sets in the kernel.
func (h *Host) elements(jail string) (map[string]bool, error) {
	all := map[string]bool{}
	for _, set := range []string{"addr-set-", "addr6-set-"} {
		c := h.net.Command(context.Background(), "nft", "-j", "list", "set", "inet", "f2b-table", set+jail)
		var wrong bytes.Buffer
		c.Stderr = &wrong
		out, err := c.Output()
		if err != nil {
			return nil, fmt.Errorf("nft list set %s: %w: %s", set+jail, err, wrong.String())
		}
		var got struct {
			Nftables []struct {
				Set *struct {
					Elem []struct{ Elem struct{ Val string } }
				}
			}
		}
		if err := json.Unmarshal(out, &got); err != nil {
			return nil, err
		}
		for _, n := range got.Nftables {
			if n.Set != nil {
				for _, e := range n.Set.Elem {
					all[e.Elem.Val] = true
				}
			}
		}
	}
	return all, nil
}

// hearing is all that the hub has told, by a connection of its own.
type hearing struct {
	nc     *nats.Conn
	mu     sync.Mutex
	newest map[string]fleet.Said
	// bans are the numbers of each key's bans that are none taken back.
	bans map[string][]uint64
}

// hear listens with a host's credentials.
func (s *Stage) hear(h *Host) (*hearing, error) {
	x := &hearing{newest: map[string]fleet.Said{}, bans: map[string][]uint64{}}
	dial := dialer(func(_, address string) (c net.Conn, err error) { return h.net.Dial("", address, 5*time.Second) })
	nc, err := nats.Connect("tls://198.51.100.9:4222", append(link.Credentials(h.path("fleet.creds"), h.path("fleet-ca.pem")),
		nats.CustomInboxPrefix(fleet.InboxPrefix+h.Name), nats.SetCustomDialer(dial), nats.MaxReconnects(-1), nats.PingInterval(time.Minute))...)
	if err != nil {
		return nil, err
	}
	x.nc = nc
	_, err = nc.Subscribe(fleet.LiveSubjects+">", func(m *nats.Msg) {
		said, err := fleet.ReadLive(m.Subject, m.Header, m.Data)
		if err != nil {
			return
		}
		x.mu.Lock()
		defer x.mu.Unlock()
		key := said.Key.String()
		x.newest[key] = said
		if said.Key.Kind == fleet.Ban && !said.Entry.Gone() {
			x.bans[key] = append(x.bans[key], said.Rev)
		}
	})
	return x, errors.Join(err, nc.Flush())
}

package replay_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/replay"
)

// planted is a line of the log of TestSweep: who did what when, in seconds.
type planted struct {
	at         int
	addr, user string
	fails      bool
}

// plant makes a day on a host: attackers, quick ones and slow ones, people who log in, and
// some who are clumsy about it.
func plant() (out []planted) {
	fail := func(at int, addr, user string) { out = append(out, planted{at, addr, user, true}) }
	login := func(at int, addr, user string) { out = append(out, planted{at, addr, user, false}) }
	for n := range 50 { // 20 tries, one in 30 s
		for i := range 20 {
			fail(600*n+30*i, fmt.Sprintf("203.0.113.%d", 1+n), "root")
		}
	}
	for n := range 10 { // 30 tries, one in 7 min
		for i := range 30 {
			fail(1000*n+420*i, fmt.Sprintf("198.51.100.%d", 1+n), "admin")
		}
	}
	for n := range 20 {
		login(2000*n, fmt.Sprintf("192.0.2.%d", 1+n), fmt.Sprintf("user%d", n))
	}
	for i := range 3 { // three wrong in half a minute, then right
		fail(5000+10*i, "192.0.2.101", "carol")
	}
	login(5060, "192.0.2.101", "carol")
	login(6000, "192.0.2.102", "dave") // right, and six wrong hours later
	for i := range 6 {
		fail(30000+10*i, "192.0.2.102", "dave")
	}
	for i := range 4 { // four wrong in half an hour
		fail(40000+500*i, "2001:db8::103", "erin")
	}
	login(42000, "2001:db8::103", "erin")
	login(42100, "2001:db8::103", "frank")
	slices.SortStableFunc(out, func(a, b planted) int { return a.at - b.at })
	return out
}

// alternating are attackers with an account of their own, which they use between guesses, and people
// who mistype more often than is forgiven.
func alternating() (out []planted) {
	for n := range 8 {
		for i := range 12 {
			who, at := fmt.Sprintf("203.0.113.%d", 200+n), 20000+n*100+20*i
			out = append(out, planted{at, who, fmt.Sprintf("victim%d", i%(n+1)), true}, planted{at + 5, who, "mallory", true}, planted{at + 10, who, "mallory", false})
		}
	}
	for n := range 10 {
		for i := range n {
			who, at := fmt.Sprintf("2001:db8:%x::7", n), 100+25000*(i/4)+i*40
			out = append(out, planted{at, who, "grace", true}, planted{at + 1, who, "grace", true}, planted{at + 2, who, "grace", false})
		}
	}
	return out
}

// modelled is a setting of which the model knows the weight of each failure.
type modelled struct {
	replay.Setting
	each int
}

func (m modelled) weight() int { return m.each }

// told is what a setting does to those planted, by a model that knows each address alone.
func told(lines []planted, s modelled) (bans, shut, through int, hurt []string) {
	by := map[string][]planted{}
	for _, l := range lines {
		by[l.addr] = append(by[l.addr], l)
	}
	for addr, list := range by {
		var window []planted
		var forgiven []int
		end, hurts := -1, false
		var began []int
		for _, l := range list {
			if !l.fails {
				mine := func(f planted) bool { return f.user == l.user }
				lately := slices.DeleteFunc(slices.Clone(forgiven), func(at int) bool { return at <= l.at-24*3600 })
				if s.Forgives && len(lately) < 3 && slices.ContainsFunc(window, func(f planted) bool { return mine(f) && f.at >= l.at-int(s.FindTime.Seconds()) }) {
					forgiven, window = append(forgiven, l.at), slices.DeleteFunc(window, mine)
				}
				continue
			}
			in := l.at <= end
			if in {
				shut++
			} else {
				through++
			}
			if s.Distinct == "user" {
				window = slices.DeleteFunc(window, func(f planted) bool { return f.user == l.user })
			}
			window = append(window, l)
			window = slices.DeleteFunc(window, func(f planted) bool { return f.at < l.at-int(s.FindTime.Seconds()) })
			weight := max(s.weight(), 1)
			if len(window)*weight >= s.MaxRetry {
				window = nil
				if !in {
					bans++
					end = l.at + int(s.BanTime.Seconds())
					began = append(began, l.at)
				}
			}
		}
		for _, l := range list {
			for _, at := range began {
				hurts = hurts || !l.fails && max(at-l.at, l.at-at) <= 24*3600
			}
		}
		if hurts {
			hurt = append(hurt, addr)
		}
	}
	slices.Sort(hurt)
	return bans, shut, through, hurt
}

// written writes a log of sshd's.
func written(t *testing.T, lines []planted) string {
	t.Helper()
	var text strings.Builder
	start := time.Date(2026, 1, 30, 0, 0, 0, 0, time.UTC)
	for n, l := range lines {
		what := "Accepted publickey for %s from %s port 4711 ssh2: ED25519 SHA256:abc"
		if l.fails {
			what = "Failed password for %s from %s port 4711 ssh2"
		}
		fmt.Fprintf(&text, "%s host sshd[%d]: "+what+"\n", start.Add(time.Duration(l.at)*time.Second).Format(time.Stamp), 1000+n, l.user, l.addr)
		fmt.Fprintf(&text, "%s host CRON[1]: hello\n", start.Add(time.Duration(l.at)*time.Second).Format(time.Stamp))
	}
	path := filepath.Join(t.TempDir(), "auth.log")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	at := start.Add(48 * time.Hour)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSweepCounting: the same of what of failures counts: of one account once, taken back after a
// login, for several.
func TestSweepCounting(t *testing.T) {
	t.Parallel()
	lines := append(plant(), alternating()...)
	slices.SortStableFunc(lines, func(a, b planted) int { return a.at - b.at })
	set, err := replay.Files([]string{written(t, lines)})
	if err != nil {
		t.Fatal(err)
	}
	j := jailOf(t, "sshd", "")
	var sweep []replay.Setting
	for _, retry := range []int{3, 4, 8} {
		for _, distinct := range []string{"", "user"} {
			for _, forgives := range []bool{false, true} {
				for _, weight := range []string{"", "\x02"} {
					sweep = append(sweep, replay.Setting{
						MaxRetry: retry, FindTime: time.Hour, BanTime: time.Hour, Distinct: distinct, Forgives: forgives,
						Weights: replay.Weights(strings.Repeat(weight, len(j.Filter.Failregex))),
					})
				}
			}
		}
	}
	r, err := replay.Run(t.Context(), replay.Options{Jail: j, Logs: set.Logs, Location: time.UTC, Guard: newGuard(t), Sweep: sweep})
	if err != nil {
		t.Fatal(err)
	}
	differ, forgiven := map[int64]bool{}, int64(0)
	for n := range sweep {
		o := &r.Sweep[n]
		bans, shut, through, hurt := told(lines, modelled{sweep[n], 1 + min(len(sweep[n].Weights), 1)})
		if int(o.Bans) != bans || int(o.ShutOut) != shut || int(o.LetThrough) != through || o.HurtAddresses != len(hurt) {
			t.Errorf("%+v: %d bans, %d shut out, %d let through, %d hurt; want %d, %d, %d, %d", o.Setting, o.Bans, o.ShutOut, o.LetThrough, o.HurtAddresses, bans, shut, through, len(hurt))
		}
		differ[o.Bans] = true
		if forgiven += o.Forgiven; (o.Forgiven > 0) != o.Forgives {
			t.Errorf("%+v: forgiven %d times", o.Setting, o.Forgiven)
		}
	}
	if len(differ) < 8 {
		t.Errorf("the settings come to the same: %v", differ)
	}
	// Whoever guesses at one account between logins of his own is banned as if nobody were forgiven.
	for n, with := range r.Sweep {
		if with.Forgives || with.Distinct != "" || with.MaxRetry != 8 {
			continue
		}
		for _, o := range r.Sweep[n+1:] {
			if o.Forgives && o.Distinct == "" && o.MaxRetry == 8 && o.Weights == with.Weights && o.Bans == 0 {
				t.Errorf("%+v bans nobody", o.Setting)
			}
		}
	}
}

// TestSweep: the numbers of all settings are those that were planted, and the best is the one that
// shuts out most and hurts nobody; by our filter, and by fail2ban's.
func TestSweep(t *testing.T) {
	t.Parallel()
	lines := plant()
	path := written(t, lines)
	var sweep []replay.Setting
	for _, retry := range []int{3, 5, 10} {
		for _, find := range []time.Duration{5 * time.Minute, time.Hour} {
			for _, ban := range []time.Duration{time.Hour, 8 * time.Hour} {
				sweep = append(sweep, replay.Setting{MaxRetry: retry, FindTime: find, BanTime: ban})
			}
		}
	}
	theirs, err := config.Load(config.Options{Path: "/etc/fail2ban", All: true})
	if err != nil {
		t.Fatalf("%v (make packages installs Debian's fail2ban)", err)
	}
	i := slices.IndexFunc(theirs.Jails, func(j *config.Jail) bool { return j.Name == "sshd" })
	for name, j := range map[string]*config.Jail{"ours": jailOf(t, "sshd", ""), "fail2ban's": theirs.Jails[i]} {
		set, err := replay.Files([]string{path})
		if err != nil {
			t.Fatal(err)
		}
		j.Filter.Journal = false
		r, err := replay.Run(t.Context(), replay.Options{Jail: j, Logs: set.Logs, Location: time.UTC, Guard: newGuard(t), Sweep: sweep})
		if err != nil {
			t.Fatal(err)
		}
		if !r.KnowsLogins || r.Logins != 24 || r.Failures != 1313 || len(r.Problems) > 0 {
			t.Errorf("%s: %d logins, %d failures, %v", name, r.Logins, r.Failures, r.Problems)
		}
		for n := range sweep {
			o := &r.Sweep[n]
			bans, shut, through, hurt := told(lines, modelled{sweep[n], 1})
			var got []string
			for _, h := range o.Hurt {
				got = append(got, h.Addr.String())
			}
			slices.Sort(got)
			if o.Setting != sweep[n] || int(o.Bans) != bans || int(o.ShutOut) != shut || int(o.LetThrough) != through || !slices.Equal(got, hurt) || o.HurtAddresses != len(hurt) {
				t.Errorf("%s: %+v: want %d bans, %d shut out, %d let through, hurt %v", name, *o, bans, shut, through, hurt)
			}
		}
		// Some of these by hand.
		if o := r.Sweep[4]; o.Bans != 51 || o.ShutOut != 50*15+1 || o.HurtUsers != 1 || o.Hurt[0].Users[0] != "dave" {
			t.Errorf("%s: %+v", name, o)
		}
		if o := r.Sweep[2]; o.HurtAddresses != 3 || o.HurtUsers != 4 {
			t.Errorf("%s: %+v", name, o)
		}
		if best := r.Sweep[r.Best()]; best.MaxRetry != 10 || best.HurtAddresses != 0 || best.ShutOut != 500 {
			t.Errorf("%s: best %+v", name, best)
		}
	}
}

// TestSweepIsItself: a setting of a sweep comes to what the jail with that setting comes to.
func TestSweepIsItself(t *testing.T) {
	t.Parallel()
	files := map[string]string{"a.log": ""}
	var text strings.Builder
	for n := range 3000 {
		fmt.Fprintf(&text, "%s Login failure 192.0.2.%d\n", time.Date(2026, 1, 31, 12, 0, n, 0, time.UTC).Format(time.DateTime), n*n%23)
	}
	files["a.log"] = text.String()
	sweep := []replay.Setting{
		{MaxRetry: 2, FindTime: time.Minute, BanTime: time.Minute},
		{MaxRetry: 3, FindTime: time.Hour, BanTime: -1},
		{MaxRetry: 4, FindTime: 10 * time.Minute, BanTime: time.Hour},
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	if err := os.WriteFile(path, []byte(files["a.log"]), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := replay.Files([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	r, err := replay.Run(t.Context(), replay.Options{Jail: jailOf(t, "django-auth", ""), Logs: set.Logs, Location: time.UTC, Guard: newGuard(t), Sweep: sweep})
	if err != nil {
		t.Fatal(err)
	}
	for n, s := range sweep {
		ban := fmt.Sprintf("\"%ds\"", int(s.BanTime.Seconds()))
		if s.BanTime < 0 {
			ban = "-1"
		}
		_, one := replayed(t, fmt.Sprintf("maxretry = %d\nfindtime = \"%ds\"\nbantime = %s", s.MaxRetry, int(s.FindTime.Seconds()), ban), files, time.UTC)
		one.Setting = s // for ever is any time below nothing
		if a, b := r.Sweep[n], one.Outcome; fmt.Sprint(a) != fmt.Sprint(b) || a.Bans == 0 {
			t.Errorf("%+v: %+v, by itself %+v", s, a, b)
		}
	}
}

package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/link"
)

// Play plays all acts.
func (s *Stage) Play(ctx context.Context) error {
	for _, act := range []struct {
		title string
		play  func() error
	}{
		{"A hub, and three hosts that join it", s.joins},
		{"An attacker fails on the first host", s.attacks},
		{"A host's credentials are gone for a moment", s.missing},
		{"He is unbanned on the second host", s.lifts},
		{"Somebody is banned in the fleet by hand", s.byHand},
		{"The hub is killed", s.hubDies},
		{"A partition: a ban on one side, a lift on the other", s.partition},
		{"A host that was off comes back", s.sleeps},
		{"One failure on each host", s.counts},
		{"The fleet's allow-list, signed by its operator", s.allows},
		{"A captured host", s.captured},
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.tell("\n%s", act.title)
		if err := act.play(); err != nil {
			return fmt.Errorf("%s: %w", act.title, err)
		}
	}
	return nil
}

// joins brings all hosts into the fleet; the second may lift what others ban.
func (s *Stage) joins() error {
	if err := s.startHub(); err != nil {
		return err
	}
	if err := s.until("the hub answers", func() bool { _, err := s.atHub("fleet", "hosts"); return err == nil }); err != nil {
		return err
	}
	for i, h := range s.hosts {
		if err := h.start(); err != nil {
			return err
		}
		if err := s.until(h.Name+" runs", func() bool { _, err := h.command("status"); return err == nil }); err != nil {
			return err
		}
		token := []string{"fleet", "token", "--name", h.Name}
		if i == 1 {
			token = append(token, "--lift-others")
		}
		word, err := s.atHub(token...)
		if err != nil {
			return err
		}
		c := h.net.Command(context.Background(), s.bailiff, "fleet", "join", "--name", h.Name, "--dir", h.dir, "--group", "login=login", "-")
		c.Stdin = strings.NewReader(word)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("fleet join: %w: %s", err, out)
		}
		text, err := os.ReadFile(h.path("bailiff.toml"))
		if err != nil {
			return err
		}
		text = bytes.Replace(text, []byte("\n[fleet]\n"), []byte("\n[fleet]\ncount = [\"login\"]\n"), 1)
		if err := os.WriteFile(h.path("bailiff.toml"), text, 0o644); err != nil {
			return err
		}
		if out, err := h.command("reload"); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if err := s.until(h.Name+" takes part", func() bool { _, err := h.command("fleet", "status"); return err == nil }); err != nil {
			return err
		}
	}
	return s.until("everybody is let in everywhere", everywhere(s.hosts, attacker, true))
}

func (s *Stage) attacks() error {
	if err := s.hosts[0].fails(attacker, 3); err != nil {
		return err
	}
	if err := s.until("the attacker is refused on all three", everywhere(s.hosts, attacker, false)); err != nil {
		return err
	}
	if !everywhere(s.hosts, customer, true)() {
		return errors.New("the customer is not let in")
	}
	s.tell("the customer is let in on all three")
	if err := s.until("the third host tells who has banned him, where and why", func() bool {
		out, err := s.hosts[2].command("why", attacker)
		return err == nil && strings.Contains(out, "web-1 has banned") && strings.Contains(out, "group login, jail login, 3 failures")
	}); err != nil {
		return err
	}
	return s.until("nothing of that comes back as a ban of another host: one word of one host", func() bool {
		for _, h := range s.hosts {
			out, err := h.command("fleet", "status", "--json")
			var st struct {
				Hosts []struct {
					Name string
					Bans int
				}
			}
			if err != nil || json.Unmarshal([]byte(out), &st) != nil || len(st.Hosts) != 1 || st.Hosts[0].Name != "web-1" || st.Hosts[0].Bans != 1 {
				return false
			}
		}
		return true
	})
}

// missing takes the third host's credentials away, and has it reload.
func (s *Stage) missing() error {
	h := s.hosts[2]
	file := h.path("fleet.creds")
	if err := os.Rename(file, file+".away"); err != nil {
		return err
	}
	if out, err := h.command("reload"); err == nil || !strings.Contains(out, "fleet.creds is not there") {
		return fmt.Errorf("a reload without credentials: %w: %s", err, out)
	}
	if out, _ := h.command("fleet", "status"); !strings.Contains(out, "fleet.creds is not there") {
		return fmt.Errorf("the status says nothing of it: %s", out)
	}
	if !everywhere(s.hosts[2:], attacker, false)() {
		return errors.New("the attacker is let in")
	}
	s.tell("a reload says so, and the attacker is refused still")
	if err := os.Rename(file+".away", file); err != nil {
		return err
	}
	if out, err := h.command("reload"); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if out, err := h.command("fleet", "status"); err != nil || strings.Contains(out, "fleet.creds") {
		return fmt.Errorf("with them again: %w: %s", err, out)
	}
	return nil
}

func (s *Stage) lifts() error {
	// The third may not: it says who has banned him.
	if out, err := s.hosts[2].command("unban", attacker); err == nil || !strings.Contains(out, "banned in the fleet by web-1") {
		return fmt.Errorf("a host that may not lift: %w: %s", err, out)
	}
	s.tell("the third host may not lift what others ban, and says so")
	if _, err := s.hosts[1].command("unban", attacker); err != nil {
		return err
	}
	if err := s.until("he is let in on all three, also where he was banned", everywhere(s.hosts, attacker, true)); err != nil {
		return err
	}
	return s.until("the first host's jail has him no more", func() bool {
		out, err := s.hosts[0].command("bans")
		return err == nil && !strings.Contains(out, attacker)
	})
}

// byHand has somebody banned in the fleet alone, and lifted again: where that is done it is an event, too, with who has done it.
func (s *Stage) byHand() error {
	const somebody = "203.0.113.77"
	first := s.hosts[0]
	for _, step := range []struct{ do, told string }{
		{"ban", somebody + ": until "}, {"unban", "web-1 has taken its ban back (by hand, by root)"},
	} {
		if out, err := first.command(step.do, "--fleet", somebody); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		for _, h := range s.hosts {
			if err := s.until(fmt.Sprintf("%s by hand in the fleet is an event on %s, with who has done it", step.do, h.Name), func() bool {
				out, err := h.command("events", "--jail", "fleet-login")
				return err == nil && strings.Contains(out, step.told) && strings.Contains(out, "by hand, by root)")
			}); err != nil {
				return err
			}
		}
	}
	if out, err := first.command("unban", "--fleet", somebody, "--jail", "login"); err == nil || !strings.Contains(out, "no jail lifts anything") {
		return fmt.Errorf("a jail, in the fleet alone: %w: %s", err, out)
	}
	if out, err := first.command("status", "fleet-login"); err == nil || !strings.Contains(out, "a group of the fleet") {
		return fmt.Errorf("a group in the place of a jail: %w: %s", err, out)
	}
	if out, err := first.command("ban", "--fleet", "login", somebody); err == nil || !strings.Contains(out, "a group is named by --group") {
		return fmt.Errorf("a group in the place of an address: %w: %s", err, out)
	}
	if out, err := first.command("unban", "--fleet", somebody); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (s *Stage) hubDies() error {
	s.killHub()
	if err := s.hosts[0].fails(second, 3); err != nil {
		return err
	}
	if err := s.until("who fails on the first host is refused there", everywhere(s.hosts[:1], second, false)); err != nil {
		return err
	}
	if err := s.until("it says that it is not connected, and what waits", func() bool {
		out, err := s.hosts[0].command("status")
		return err == nil && strings.Contains(out, "not connected") && strings.Contains(out, "1 wait to be sent")
	}); err != nil {
		return err
	}
	if !everywhere(s.hosts[1:], second, true)() {
		return errors.New("the others know of it without a hub")
	}
	if err := s.startHub(); err != nil {
		return err
	}
	return s.until("the hub is back: he is refused on all three", everywhere(s.hosts, second, false))
}

// partition cuts the second host off. The third attacker is lifted there and then banned on the other side; the fourth banned
// and then lifted. What was done later counts.
func (s *Stage) partition() error {
	first, other := s.hosts[0], s.hosts[1]
	for _, who := range []string{third, fourth} {
		if err := first.fails(who, 3); err != nil {
			return err
		}
	}
	if err := s.until("two are banned everywhere", func() bool { return everywhere(s.hosts, third, false)() && everywhere(s.hosts, fourth, false)() }); err != nil {
		return err
	}
	if err := other.cut(true); err != nil {
		return err
	}
	if err := s.until("the second host is cut off", func() bool {
		out, err := other.command("status")
		return err == nil && strings.Contains(out, "not connected")
	}); err != nil {
		return err
	}
	if _, err := other.command("unban", third); err != nil {
		return err
	}
	if err := s.until("it lets the one in that it has lifted", everywhere(s.hosts[1:2], third, true)); err != nil {
		return err
	}
	if _, err := first.command("ban", "login", fourth, "--for", "50m"); err != nil {
		return err
	}
	// Who was later is known to five seconds, the bound of servers' clocks.
	time.Sleep(fleet.DefaultGrace + time.Second)
	if _, err := first.command("ban", "login", third, "--for", "50m"); err != nil {
		return err
	}
	if _, err := other.command("unban", fourth); err != nil {
		return err
	}
	if err := other.cut(false); err != nil {
		return err
	}
	if err := s.until("healed: who was lifted first and banned later is refused everywhere", everywhere(s.hosts, third, false)); err != nil {
		return err
	}
	return s.until("and who was banned first and lifted later is let in everywhere", everywhere(s.hosts, fourth, true))
}

// sleeps stops the first host, whose ban is lifted meanwhile.
func (s *Stage) sleeps() error {
	first := s.hosts[0]
	_ = first.daemon.Process.Kill()
	_ = first.daemon.Wait()
	if _, err := s.hosts[1].command("unban", second); err != nil {
		return err
	}
	if err := s.until("what the first host had banned is lifted while it is off", everywhere(s.hosts[1:], second, true)); err != nil {
		return err
	}
	if err := first.run(); err != nil {
		return err
	}
	if err := s.until("it comes back, and lets him in, too", everywhere(s.hosts, second, true)); err != nil {
		return err
	}
	if err := s.until("it has read everything", func() bool { _, err := first.command("fleet", "status"); return err == nil }); err != nil {
		return err
	}
	if !everywhere(s.hosts, second, true)() || !everywhere(s.hosts, third, false)() {
		return errors.New("a host that was off has changed who is banned")
	}
	s.tell("nobody was banned again by that")
	return nil
}

// counts has somebody fail once on each host, which none of them bans for.
func (s *Stage) counts() error {
	for _, h := range s.hosts {
		if err := h.fails(fifth, 1); err != nil {
			return err
		}
	}
	if err := s.until("who has failed once on each is refused on all three", everywhere(s.hosts, fifth, false)); err != nil {
		return err
	}
	return s.until("and each tells who has counted what", func() bool {
		for _, h := range s.hosts {
			if out, err := h.command("why", fifth); err != nil || !strings.Contains(out, "3 failures on 3 hosts: web-1:1 web-2:1 web-3:1") {
				return false
			}
		}
		return true
	})
}

// allows puts somebody on the fleet's allow-list who is banned, and strikes him off.
func (s *Stage) allows() error {
	for version, list := range []string{third + "\n", ""} {
		c := s.hubHost.Command(context.Background(), s.bailiff, "fleet", "allow", "sign", "--key", filepath.Join(s.dir, "allow.key"), "--version", strconv.Itoa(version+1), "-")
		c.Stdin = strings.NewReader(list)
		signed, err := c.Output()
		if err != nil {
			return fmt.Errorf("fleet allow sign: %w", err)
		}
		file := filepath.Join(s.dir, "allow.signed")
		if err := os.WriteFile(file, signed, 0o600); err != nil {
			return err
		}
		if _, err := s.atHub("fleet", "allow", "publish", file); err != nil {
			return err
		}
		what, event := "an attacker who is put on it is let in where others' bans had shut him out", "it is never shut out here now"
		if list == "" {
			what, event = "struck off, he is refused again", "nothing keeps it from being shut out here any more"
		}
		// The first host has banned him itself: that is its jail's.
		if err := s.until(what, everywhere(s.hosts[1:], third, list != "")); err != nil {
			return err
		}
		if err := s.until("and that is an event", func() bool {
			out, err := s.hosts[1].command("events", "--jail", "fleet-login")
			return err == nil && strings.Contains(out, third) && strings.Contains(out, event)
		}); err != nil {
			return err
		}
	}
	return nil
}

// captured takes the third host's credentials and a raw client of NATS'.
func (s *Stage) captured() error {
	h := s.hosts[2]
	dial := dialer(func(network, address string) (c net.Conn, err error) { return h.net.Dial("", address, 5*time.Second) })
	nc, err := nats.Connect("tls://198.51.100.9:4222", append(link.Credentials(h.path("fleet.creds"), h.path("fleet-ca.pem")),
		nats.CustomInboxPrefix(fleet.InboxPrefix+h.Name), nats.SetCustomDialer(dial), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	if err != nil {
		return err
	}
	defer nc.Close()
	put := func(k fleet.Key) (fleet.Answer, error) {
		left := int64(3600)
		if k.Kind == fleet.Lift {
			left = 0
		}
		data, err := fleet.Put{Entry: fleet.Entry{Jail: "login", Left: left, N: 1 << 50}}.Encode(k.Kind)
		if err != nil {
			return fleet.Answer{}, err
		}
		m, err := nc.Request(fleet.PutSubject(k), data, 2*time.Second)
		if err != nil {
			return fleet.Answer{}, err
		}
		return fleet.DecodeAnswer(m.Data)
	}
	at := func(who string) netip.Prefix { return netip.PrefixFrom(netip.MustParseAddr(who), 32) }
	if a, err := put(fleet.BanKey(h.Name, "login", at(customer))); err != nil || a.Status != fleet.Refused || a.Reason != fleet.Allowed {
		return fmt.Errorf("a ban of the customer: %+v, %w", a, err)
	}
	s.tell("it has the customer banned: the hub refuses that, since the fleet's list has him")
	for what, k := range map[string]fleet.Key{
		"it has him banned in the first host's name":  fleet.BanKey("web-1", "login", at(customer)),
		"it lifts the attacker":                       fleet.LiftKey(h.Name, "login", at(third)),
		"it lifts the attacker in the second's name":  fleet.LiftKey("web-2", "login", at(third)),
		"it takes the first host's ban back":          fleet.BanKey("web-1", "login", at(third)),
		"it bans a whole network in the first's name": fleet.BanKey("web-1", "login", netip.MustParsePrefix("192.0.2.0/24")),
	} {
		if a, err := put(k); err == nil {
			return fmt.Errorf("%s: it is answered %+v", what, a)
		}
		s.tell("%s: the server refuses that", what)
	}
	if !everywhere(s.hosts, customer, true)() || !everywhere(s.hosts, third, false)() {
		return errors.New("the captured host has changed who is banned")
	}
	s.tell("the customer is let in everywhere, the attacker nowhere")
	if _, err := s.atHub("fleet", "distrust", h.Name); err != nil {
		return err
	}
	return s.until("it is taken out of the fleet", func() bool {
		out, err := h.command("status")
		return err == nil && strings.Contains(out, "not connected")
	})
}

type dialer func(network, address string) (net.Conn, error)

// Dial implements nats.CustomDialer.
func (d dialer) Dial(network, address string) (net.Conn, error) { return d(network, address) }

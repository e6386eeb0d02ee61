package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/pkg/control"
	"bailiff/pkg/hosttest"
)

// TestUnbanWithin: who stays shut out after an unban, since a banned network or a list
// holds the address, is told so, with the remedy: by the command, by the socket, and by
// fail2ban's client as far as that goes. A list is not called a jail that isn't there.
func TestUnbanWithin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	list := hosttest.Write(t, filepath.Join(dir, "feed.txt"), "# a feed\n198.51.100.7\n\n# more\n2001:db8:5::/48 ; x\n203.0.113.64-203.0.113.95\n")
	hosttest.Write(t, filepath.Join(dir, "app.log"), "")
	hosttest.Write(t, filepath.Join(dir, "bailiff.toml"), fmt.Sprintf(`
[firewall]
enabled = false

[default]
ignoreself = false

[jail.shop]
enabled = true
failregex = '^\s*login failed from <ADDR>$'
logpath = %q

[jail.other]
enabled = true
failregex = '^\s*login failed from <ADDR>$'
logpath = %q

[jail.blocklist]
enabled = true
list = %q
`, filepath.Join(dir, "app.log"), filepath.Join(dir, "app.log"), list))
	d := daemonHere(t, dir, "--database", "none")
	d.said("list loaded")
	if out, code := d.run("ban", "shop", "192.0.2.9", "203.0.113.66"); code != 0 {
		t.Fatal(out)
	}
	if out, code := d.run("ban", "shop", "192.0.2.0/24", "203.0.113.0/26"); code != 0 {
		t.Fatal(out)
	}
	const inNet = "part of 192.0.2.0/24, which is banned in shop: to let it in, bailiff unban 192.0.2.0/24\n"
	onList := func(line int) string {
		return fmt.Sprintf("on list blocklist (%s:%d): to let it in, put it into ignoreip of jail blocklist, and reload\n", list, line)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"unban", "192.0.2.8"}, 1, "bailiff: 192.0.2.8 is not banned by itself, but " + inNet},
		{[]string{"unban", "192.0.2.8", "--jail", "shop"}, 1, "bailiff: 192.0.2.8 is not banned by itself, but " + inNet},
		{[]string{"unban", "192.0.2.8", "--jail", "other"}, 1, "bailiff: 192.0.2.8 is not banned in other\n"},
		{[]string{"unban", "192.0.2.9"}, 1, "192.0.2.9 unbanned in shop\nbailiff: 192.0.2.9 is still shut out: it is " + inNet},
		{[]string{"unban", "192.0.2.64/26"}, 1, "bailiff: 192.0.2.64/26 is not banned by itself, but " + inNet},
		{[]string{"unban", "198.51.100.7"}, 1, "bailiff: 198.51.100.7 is not banned by itself, but " + onList(2)},
		{[]string{"unban", "198.51.100.7", "--jail", "blocklist"}, 1, "bailiff: 198.51.100.7 is not banned by itself, but " + onList(2)},
		{[]string{"unban", "198.51.100.8", "--jail", "blocklist"}, 1, "bailiff: 198.51.100.8 is not banned in blocklist\n"},
		{[]string{"unban", "2001:db8:5::77"}, 1, "bailiff: 2001:db8:5::77 is not banned by itself, but " + onList(5)},
		{[]string{"unban", "203.0.113.66"}, 1, "203.0.113.66 unbanned in shop\nbailiff: 203.0.113.66 is still shut out: it is " + onList(6)},
		{[]string{"unban", "198.51.100.0/24"}, 1, "bailiff: 198.51.100.0/24 is not banned by itself, but in part " + onList(2)},
		{[]string{"unban", "203.0.113.200"}, 1, "bailiff: 203.0.113.200 is not banned\n"},
		// Both at once: nothing of it is left.
		{[]string{"unban", "203.0.113.5", "203.0.113.0/26"}, 1, "203.0.113.0/26 unbanned in shop\nbailiff: 203.0.113.5 is not banned\n"},
		// A network that is not banned, with bans inside it.
		{[]string{"ban", "shop", "203.0.113.130", "203.0.113.131"}, 0, "203.0.113.130 banned in shop\n203.0.113.131 banned in shop\n"},
		{[]string{"ban", "other", "203.0.113.129"}, 0, "203.0.113.129 banned in other\n"},
		{
			[]string{"unban", "203.0.113.128/25"}, 1, "bailiff: 203.0.113.128/25 is not banned by itself, but in part shut out by a ban inside it in other: to let all of it in, bailiff unban --inside 203.0.113.128/25; " +
				"in part shut out by 2 bans inside it in shop: to let all of it in, bailiff unban --inside 203.0.113.128/25\n",
		},
		{[]string{"fail2ban-client", "unban", "203.0.113.128/25"}, 0, "3\n"},
		{[]string{"ban", "shop", "203.0.113.130", "203.0.113.131"}, 0, "203.0.113.130 banned in shop\n203.0.113.131 banned in shop\n"},
		{[]string{"ban", "other", "203.0.113.129"}, 0, "203.0.113.129 banned in other\n"},
		{[]string{"unban", "--inside", "203.0.113.128/25", "--jail", "shop"}, 0, "203.0.113.130 unbanned in shop\n203.0.113.131 unbanned in shop\n"},
		{[]string{"unban", "--inside", "203.0.113.128/25"}, 0, "203.0.113.129 unbanned in other\n"},
		{[]string{"unban", "203.0.113.128/25"}, 1, "bailiff: 203.0.113.128/25 is not banned\n"},
		{[]string{"ban", "blocklist", "192.0.2.1"}, 1, "bailiff: jail blocklist is a list: who is to be shut out goes into its files (" + list + "), who is to be let in into its ignoreip\n"},
		{[]string{"unban", "--all", "--jail", "blocklist"}, 1, "bailiff: jail blocklist is a list: who is to be shut out goes into its files (" + list + "), who is to be let in into its ignoreip\n"},
		{[]string{"ban", "nowhere", "192.0.2.1"}, 1, "bailiff: no jail nowhere\n"},
	} {
		out, code := d.run(c.args...)
		// Where an entry stands is looked for within bounds, and may not be told.
		short := strings.NewReplacer(fmt.Sprintf(" (%s:2)", list), "", fmt.Sprintf(" (%s:5)", list), "", fmt.Sprintf(" (%s:6)", list), "", "of jail blocklist", "of that jail").Replace(c.want)
		if got := sorted(prompt(out)); code != c.code || got != sorted(c.want) && got != sorted(short) {
			t.Errorf("%v: exit %d, want %d: %q, want %q", c.args, code, c.code, out, c.want)
		}
	}
	for addr, line := range map[string]int{"198.51.100.7": 2, "2001:db8:5::77": 5, "203.0.113.66": 6} {
		want := addr + " is not banned by itself, but " + onList(line)
		d.until("not told: "+want, func() bool { out, _ := d.run("unban", addr); return strings.Contains(out, want) })
	}
	got, err := d.api.Unban(control.UnbanRequest{IPs: []string{"192.0.2.8"}})
	if err != nil || len(got) != 1 || got[0].Count != 0 || len(got[0].By) != 1 || got[0].By[0] != (control.Wider{Jail: "shop", IP: "192.0.2.0/24"}) {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := d.api.Ban("blocklist", control.BanRequest{IPs: []string{"192.0.2.1"}}); err == nil || !strings.Contains(err.Error(), "is a list") {
		t.Error(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"fail2ban-client", "unban", "192.0.2.8"}, 0, "0\n"},
		{[]string{"fail2ban-client", "set", "shop", "unbanip", "192.0.2.8"}, 0, "0\n"},
		{[]string{"fail2ban-client", "set", "shop", "unbanip", "--report-absent", "192.0.2.8"}, 255, "not banned: ['192.0.2.8']: 192.0.2.8 is " + inNet},
		{[]string{"fail2ban-client", "set", "blocklist", "banip", "192.0.2.8"}, 255, "jail blocklist is a list"},
	} {
		out, code := d.run(c.args...)
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%v: %d %q, want %d %q", c.args, code, out, c.code, c.want)
		}
	}
	d.said("WARNING 192.0.2.8 is not banned by itself, but " + strings.TrimSpace(inNet))
}

// sorted are lines in an order of their own: what is told on stderr and on stdout has none.
func sorted(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) == 2 && lines[0] > lines[1] {
		lines[0], lines[1] = lines[1], lines[0]
	}
	return strings.Join(lines, "\n")
}

package config

import "testing"

func TestCommentTable(t *testing.T) {
	const rest = "[default]\nbantime = \"1h\" # [fleet]\n\n[jail.sshd]\nenabled = true\n"
	for _, c := range []struct {
		text, want string
		first      int
	}{
		{rest, rest, 0},
		{rest + "\n# as told\n[fleet]\nurl = [\n  \"tls://hub.example:4222\",\n]\n\n[ fleet.group.ssh ]\npublish = []\n\n[jail.x]\n", rest + "\n# as told\n# [fleet]\n# url = [\n#   \"tls://hub.example:4222\",\n# ]\n\n# [ fleet.group.ssh ]\n# publish = []\n\n[jail.x]\n", 8},
		{"[fleet.group.ssh]\n\n[fleets]\nx = 1\n", "# [fleet.group.ssh]\n\n[fleets]\nx = 1\n", 1},
		{"\"fleet\".url = \"x\"\n", "", 1},
		{"fleet.url = \"x\"\n[jail.a]\n", "", 1},
		{"[fleet]\nurl = \"\"\"\n[jail.x]\n\"\"\"\n", "", 1},
		{"[fleet\n", "", 1},
	} {
		if got, first := CommentTable(c.text, "fleet"); got != c.want || first != c.first {
			t.Errorf("%q:\n%q, line %d, want\n%q, line %d", c.text, got, first, c.want, c.first)
		}
	}
}

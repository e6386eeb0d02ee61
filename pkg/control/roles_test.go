package control

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// Words that stand for every jail, action and value.
const aJail, anAction = "sshd", "mail"

// everyCommand are commands of fail2ban's protocol, each with what a reader may.
func everyCommand() map[string]bool {
	out := map[string]bool{}
	for name := range rules {
		out[name] = !strings.Contains(" get set multi-set echo server-status sleep flushlogs unban stop add start reload server-stream config-error ", " "+name+" ")
	}
	for _, s := range []string{"basic", "short", "stats"} {
		out["status sshd "+s] = true
	}
	out["status sshd cymru"], out["status --all cymru"], out["status sshd anything"] = false, false, false
	out["status sshd"], out["status --all"], out["banned 192.0.2.7"] = true, true, true
	for _, s := range []string{"loglevel", "logtarget", "syslogsocket", "dbfile", "dbmaxmatches", "dbpurgeage", "thread"} {
		out["get "+s], out["set "+s+" x"] = true, false
	}
	may := strings.Fields(`banned banip logpath logencoding journalmatch ignoreself ignoreip ignorecache prefregex failregex ignoreregex
		usedns findtime datepattern logtimezone maxmatches maxretry maxlines bantime actions bantime.increment bantime.maxtime`)
	for _, s := range strings.Fields(`banned banip logpath logencoding journalmatch ignoreself ignoreip ignorecommand ignorecache prefregex
		failregex ignoreregex usedns findtime datepattern logtimezone maxmatches maxretry maxlines bantime actions action actionproperties
		actionmethods bantime.increment bantime.maxtime bantime.password`) {
		ok := slices.Contains(may, s)
		out["get sshd "+s] = ok
		out["get sshd "+s+" mail"] = ok
		out["get sshd "+s+" mail password"] = ok
	}
	for _, s := range strings.Fields(`idle ignoreself addignoreip delignoreip ignorecommand ignorecache addlogpath dellogpath logencoding
		addjournalmatch deljournalmatch prefregex addfailregex delfailregex addignoreregex delignoreregex usedns findtime datepattern
		logtimezone maxmatches maxretry maxlines bantime attempt banip unbanip addaction delaction action`) {
		out["set sshd "+s+" x"], out["multi-set sshd "+s+" x"] = false, false
		out["set sshd "+s+" mail password x"] = false
	}
	for _, s := range []string{"stop sshd", "unban --all", "unban 192.0.2.7", "reload --all", "start sshd", "add x", "GET sshd banned", "nothing", ""} {
		out[s] = false
	}
	return out
}

// nestings are the forms in which a word can be sent. The last ones are no words.
var nestings = map[string]func(string) (instructions string, list bool){
	"text":        func(w string) (string, bool) { return "V" + w + "\n", false },
	"str":         func(w string) (string, bool) { return "S'" + w + "'\n", false },
	"bytes":       func(w string) (string, bool) { return "C" + string(rune(len(w))) + w, false },
	"counted":     func(w string) (string, bool) { return "\x8c" + string(rune(len(w))) + w, false },
	"noted":       func(w string) (string, bool) { return "\x8c" + string(rune(len(w))) + w + "\x94", false },
	"list":        func(w string) (string, bool) { return "(V" + w + "\nl", true },
	"list of one": func(w string) (string, bool) { return "]V" + w + "\na", true },
	"tuple":       func(w string) (string, bool) { return "V" + w + "\n\x85", true },
	"twice":       func(w string) (string, bool) { return "((V" + w + "\nll", true },
	"in parts": func(w string) (string, bool) {
		return "(V" + w[:len(w)/2] + "\nV" + w[len(w)/2:] + "\nl", true
	},
	"with nothing": func(w string) (string, bool) { return "(V\nV" + w + "\nNl", true },
}

// notWords stand at a word's place and are never one.
var notWords = map[string]string{
	"None": "N", "True": "\x88", "0": "K\x00", "a number": "L99L\n", "a float": "G\x40\x04\x00\x00\x00\x00\x00\x00",
	"an empty list": "]", "an empty tuple": ")", "an empty text": "V\n",
}

// TestRoles gives every command, with each of its words in every form, and others in
// between, to both roles: what a reader gets carried out is what he may, whatever it
// looks like, and what is carried out is what was judged.
func TestRoles(t *testing.T) {
	n := 0
	for text, may := range everyCommand() {
		words := strings.Split(text, " ")
		try := func(form string, parts []string, list, wrong bool) {
			n++
			pickle := []byte("(" + strings.Join(parts, "") + "l.")
			for role := Reader; role <= Owner; role++ {
				r, err := DecodeRequest(pickle, role)
				if err != nil {
					t.Fatalf("%s, %s: %v", text, form, err)
				}
				err = r.permit()
				e, _ := errors.AsType[*Exception](err)
				switch {
				case role == Reader && !may && err == nil && !harmless(r):
					t.Errorf("%s, %s: a reader may", text, form)
				case role == Reader && list && err == nil:
					t.Errorf("%s, %s: a reader's list was taken for a word", text, form)
				case role == Reader && may && !list && !wrong && err != nil:
					t.Errorf("%s, %s: a reader may not: %v", text, form, err)
				case role == Owner && err != nil && (!list || e.Class != "TypeError"):
					t.Errorf("%s, %s: the owner may not: %v", text, form, err)
				}
				if !list && !wrong {
					var got []string
					for _, w := range r.Words {
						got = append(got, w.Text())
					}
					if strings.Join(got, " ") != text {
						t.Errorf("%s, %s: carried out is %q", text, form, got)
					}
				}
			}
		}
		plainly := func() []string {
			var out []string
			for _, w := range words {
				p, _ := nestings["text"](w)
				out = append(out, p)
			}
			return out
		}
		for form, as := range nestings {
			for i := range words {
				parts := plainly()
				p, list := as(words[i])
				parts[i] = p
				try(fmt.Sprintf("word %d as %s", i, form), parts, list, false)
			}
			parts, lists := plainly(), false
			for i := range words {
				p, list := as(words[i])
				parts[i], lists = p, lists || list
			}
			try("all as "+form, parts, lists, false)
		}
		for form, p := range notWords {
			list := strings.Contains(form, "empty list") || strings.Contains(form, "tuple")
			for i := range words {
				try(fmt.Sprintf("%s before word %d", form, i), slices.Insert(plainly(), i, p), list, true)
				parts := plainly()
				parts[i] = p
				try(fmt.Sprintf("%s for word %d", form, i), parts, list, true)
			}
			try(form+" at the end", append(plainly(), p), list, true)
		}
	}
	if n < 10_000 {
		t.Errorf("only %d requests", n)
	}
}

// harmless says that a command in which something else stood turned into one that a
// reader may give: judged on its words, apart from the table.
func harmless(r *Request) bool {
	w := make([]string, max(4, len(r.Words)))
	for i, x := range r.Words {
		w[i] = x.Text()
	}
	return everyCommand()[strings.Join(w[:len(r.Words)], " ")] || w[0] == "banned" || w[0] == "ping" || w[0] == "version" || w[0] == "bailiff" ||
		strings.HasPrefix(w[0], "stat") && w[2] != "cymru" || w[0] == "get" && everyCommand()["get sshd "+w[2]] || w[0] == "get" && everyCommand()["get "+w[1]]
}

// TestRoutes: of HTTP, a reader may what asks; every route is tried.
func TestRoutes(t *testing.T) {
	beyond := map[string]Role{ // of those who do more than ask
		"POST /v1/filter/try": Operator, "POST /v1/replay": Operator, "POST /v1/import": Operator, "POST /v1/jails/{jail}/ban": Operator,
		"POST /v1/unban": Operator, "POST /v1/fleet/ban": Operator, "POST /v1/allow": Operator, "POST /v1/reload": Operator,
		"POST /v1/jails/{jail}/settings": Admin, "DELETE /v1/jails/{jail}/settings": Admin, "POST /v1/filters/{name}": Admin, "POST /v1/never": Admin,
		"POST /v1/web/login": Owner, "POST /v1/stop": Owner,
	}
	for _, rt := range routes {
		if want, named := beyond[rt.pattern]; rt.role != want || !named && !strings.HasPrefix(rt.pattern, "GET ") {
			t.Errorf("%s is for role %s, want %s", rt.pattern, rt.role, want)
		}
	}
	d := &echoCommander{}
	path, _ := readSocketFor(t, d)
	client := NewClient(path)
	for _, rt := range routes {
		_, pattern, _ := strings.Cut(rt.pattern, " ")
		asked := slices.ContainsFunc(routes, func(o route) bool { return o.pattern == "GET "+pattern })
		where := strings.ReplaceAll(pattern, "{jail}", aJail)
		for _, m := range []string{"POST", "GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			req, err := http.NewRequest(m, "http://bailiff"+where, strings.NewReader(`{"all": true}`))
			if err != nil {
				t.Fatal(err)
			}
			res, err := client.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			asks := (m == "GET" || m == "HEAD") && asked
			if ok := res.StatusCode == http.StatusOK; ok != asks {
				t.Errorf("%s %s: %s", m, where, res.Status)
			}
		}
	}
}

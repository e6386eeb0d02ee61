package control

import (
	"fmt"
	"slices"
	"strings"
)

// Role is what a client may do; it is the socket's, or that of a user of the page.
type Role uint8

const (
	// Reader may ask for what is no secret: a viewer.
	Reader Role = iota
	// Operator may ban, unban, let in and reload, too.
	Operator
	// Admin may change settings, too.
	Admin
	// Owner may do everything.
	Owner
)

// String is the name by which people give a role.
func (r Role) String() string {
	switch r {
	case Reader:
		return "viewer"
	case Operator:
		return "operator"
	case Admin:
		return "admin"
	}
	return "owner"
}

// ParseRole reads the name of a role that may be given to people: viewer, operator, admin.
func ParseRole(name string) (Role, error) {
	for r := Reader; r < Owner; r++ {
		if r.String() == name {
			return r, nil
		}
	}
	return Reader, fmt.Errorf("role %q: want viewer, operator or admin", name)
}

// rule says of a command of fail2ban's who may give it, and where in it lists stand.
type rule struct {
	role Role
	// may looks at the rest of a reader's command; nil: any.
	may func(words []*Word) bool
	// lists says whether the word at a place may be a list.
	lists func(place int) bool
}

func at(place int) func(int) bool { return func(i int) bool { return i == place } }

func from(place int) func(int) bool { return func(i int) bool { return i >= place } }

// rules are the commands that the daemon knows. What is not in it is nobody's but the
// owner's, who gets the daemon's own answer: that there is none of that name.
var rules = map[string]rule{
	"ping": {role: Reader}, "version": {role: Reader}, "bailiff": {role: Reader},
	"status": {role: Reader, may: mayStatus}, "banned": {role: Reader},
	"stats": {role: Reader}, "statistic": {role: Reader}, "statistics": {role: Reader},
	"get":  {role: Reader, may: mayGet},
	"echo": {role: Owner, lists: from(1)}, "server-status": {role: Owner}, "sleep": {role: Owner}, "flushlogs": {role: Owner},
	"unban": {role: Owner}, "set": {role: Owner, lists: at(2)}, "multi-set": {role: Owner, lists: from(3)},
	"stop": {role: Owner}, "add": {role: Owner}, "start": {role: Owner},
	"reload":        {role: Owner, lists: from(2)},
	"server-stream": {role: Owner, lists: from(1)}, "config-error": {role: Owner, lists: from(1)},
}

// flavours of status that a reader may ask for. With cymru the daemon asks the world.
var flavours = []string{"basic", "short", "stats"}

// serverSettings and jailSettings are what a reader may get. The parameters of
// actions, and commands, may hold passwords.
var (
	serverSettings = strings.Fields("loglevel logtarget syslogsocket dbfile dbmaxmatches dbpurgeage thread")
	jailSettings   = strings.Fields(`banned banip logpath logencoding journalmatch ignoreself ignoreip ignorecache prefregex failregex
		ignoreregex usedns findtime datepattern logtimezone maxmatches maxretry maxlines bantime actions bantime.increment bantime.factor
		bantime.formula bantime.multipliers bantime.maxtime bantime.rndtime bantime.overalljails`)
)

func mayStatus(words []*Word) bool { return len(words) < 3 || slices.Contains(flavours, words[2].text) }

func mayGet(words []*Word) bool {
	return len(words) > 1 && slices.Contains(serverSettings, words[1].text) ||
		len(words) > 2 && slices.Contains(jailSettings, words[2].text)
}

var errAskOnly = &Exception{Class: "PermissionError", Args: []any{"this socket can only be asked: ping, version, status, banned, get"}}

// permit judges a request by its role.
func (r *Request) permit() error {
	name := r.Words[0].text
	k, known := rules[name]
	if r.Role < Owner && (!known || k.role > r.Role) {
		return errAskOnly
	}
	if known {
		for i, w := range r.Words {
			if w.IsList() && (k.lists == nil || !k.lists(i) || name == "set" && (!w.IsDict() || r.Words[1].text != "thread")) {
				if r.Role < Owner {
					return errAskOnly
				}
				return &Exception{Class: "TypeError", Args: []any{"a list stands where " + name + " wants a word"}}
			}
		}
	}
	if r.Role < Owner && k.may != nil && !k.may(r.Words) {
		return errAskOnly
	}
	return nil
}

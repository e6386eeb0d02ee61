package config

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bailiff/pkg/firewall"
	"bailiff/pkg/lazyregexp"
)

// What the stock nftables actions of fail2ban 0.11 to 1.1.1 do is read from their
// commands, with their parameters filled in. Of the shell only as much is understood as
// stands in those: a loop over protocols, a comparison of two fixed words, a list that
// goes through echo and sed. Whatever else there is, is somebody's own, and is run.

var (
	shFor   = lazyregexp.New(`^for (\w+) in \$\(echo '([^']*)' \| sed 's/,/ /g'\); do$`)
	shIf    = lazyregexp.New(`^if \[ (?:'([^']*)'|"([^"$\\` + "`" + `]*)") (!?=) (?:'([^']*)'|"([^"$\\` + "`" + `]*)") \]; then$`)
	shPorts = lazyregexp.New(`\$\(echo '([^']*)' \| sed s/:/-/g\)`)
	// nftOther are the lines of what lists, empties and removes, whole: none of that is to
	// be done by commands where the kernel's sets are ours.
	nftOther = lazyregexp.New(`^(?:done|\}|\} \|\| \{|else|fi)$|` +
		`^(?:\{ )?` + nftProgram + ` (?:-a )?(?:flush|list|delete) (?:set|chain|table|rule) inet [\w. :-]+` +
		`(?: 2> /dev/null; \} \|\| \{| \| (?:sed -nE|grep -oP) '[^']*'; \} \| while read -r hdl; do| \$hdl; done| \| grep -q '[^']*'| \| grep -q[EP] '[^']*'; \} \|\| \{)?$`)
	nftPlain = lazyregexp.New(`^[\w:,.-]+$`)
)

// nftProgram is nft itself: another file of that name may be anything.
const nftProgram = `(?:/usr/sbin/|/sbin/|/usr/bin/)?nft`

var isNFT = lazyregexp.New(`^` + nftProgram + `$`)

// nftHarmless reports whether a line of what lists, empties and removes is as the stock
// actions have it.
func nftHarmless(line string) bool {
	if nftOther.MatchString(line) || shFor.MatchString(line) || shIf.MatchString(line) {
		return true
	}
	words, ok := nftWords(line, map[string]string{"proto": "tcp"})
	return ok && len(words) > 3 && words[0] == "add" && (words[1] == "set" || words[1] == "rule")
}

// nftCommands returns the nft commands that a script comes to, each as the words behind
// "nft". Not ok: there is something in it that is not understood.
func nftCommands(text string) (commands [][]string, ok bool) {
	lines := commandLines(text)
	commands, rest, ok := nftBlock(lines, nil)
	return commands, ok && len(rest) == 0
}

// nftBlock reads up to a line that ends a loop's or a condition's part, and returns that
// line and those behind it.
func nftBlock(lines []string, vars map[string]string) (commands [][]string, rest []string, ok bool) {
	for len(lines) > 0 {
		line := lines[0]
		if line == "done" || line == "else" || line == "fi" {
			return commands, lines, true
		}
		lines = lines[1:]
		if m := shFor.FindStringSubmatch(line); m != nil {
			if vars != nil {
				return nil, nil, false // a loop within a loop is none of theirs, and could be long
			}
			after := []string(nil)
			for _, word := range append(strings.Fields(strings.ReplaceAll(m[2], ",", " ")), "") {
				inner, left, ok := nftBlock(lines, map[string]string{m[1]: word})
				if !ok || len(left) == 0 || left[0] != "done" {
					return nil, nil, false
				}
				if word != "" { // that one only finds the end of a loop over nothing
					commands = append(commands, inner...)
				}
				after = left[1:]
			}
			lines = after
			continue
		}
		if m := shIf.FindStringSubmatch(line); m != nil {
			is := m[1]+m[2] == m[4]+m[5]
			if m[3] == "!=" {
				is = !is
			}
			for _, part := range []bool{true, false} {
				inner, left, ok := nftBlock(lines, vars)
				if !ok || len(left) == 0 || left[0] == "done" || !part && left[0] == "else" {
					return nil, nil, false
				}
				if part == is {
					commands = append(commands, inner...)
				}
				lines = left[1:]
				if left[0] == "fi" {
					break
				}
			}
			continue
		}
		words, ok := nftWords(line, vars)
		if !ok {
			return nil, nil, false
		}
		commands = append(commands, words)
	}
	return commands, nil, true
}

// nftWords returns the words of one nft command; braces and semicolons, which are \{, \}
// and \; there, are words.
func nftWords(line string, vars map[string]string) ([]string, bool) {
	line = shPorts.ReplaceAllString(strings.ReplaceAll(line, "<sp>", " "), "$1")
	for name, value := range vars {
		line = regexp.MustCompile(`\$(?:`+name+`\b|\{`+name+`\})`).ReplaceAllLiteralString(line, value)
	}
	if strings.Contains(strings.ReplaceAll(line, `\;`, ""), ";") {
		return nil, false
	}
	for _, mark := range []string{`\{`, `\}`, `\;`} {
		line = strings.ReplaceAll(line, mark, " "+mark[1:]+" ")
	}
	if strings.ContainsAny(strings.ReplaceAll(line, "<ip>", ""), "$`'\"|&<>()\\*?[]~#") {
		return nil, false
	}
	words := strings.Fields(line)
	if len(words) < 3 || !isNFT.MatchString(words[0]) {
		return nil, false
	}
	if words = words[1:]; words[0] == "--" {
		words = words[1:]
	}
	return words, true
}

// chainPriorities are nft's names of them, for table family inet.
var chainPriorities = map[string]int{"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50}

// chainPriority reads a number, or a name of nft's with a number added.
func chainPriority(words []string) (int, bool) {
	text := strings.Join(words, "")
	base := 0
	for name, n := range chainPriorities {
		if rest, ok := strings.CutPrefix(text, name); ok {
			base, text = n, rest
			if text == "" {
				return base, true
			}
			if text[0] != '+' && text[0] != '-' {
				return 0, false
			}
		}
	}
	n, err := strconv.Atoi(text)
	return base + n, err == nil && n >= math.MinInt16 && n <= math.MaxInt16
}

// take takes over what one command of a start does. It reports whether that is what the
// kernel's sets of a jail do, too.
func (n *native) take(c []string, set string, ip6 bool, rules *int) bool {
	if len(c) < 4 || c[0] != "add" || c[2] != "inet" {
		return false
	}
	family, kind := "ip", "ipv4_addr"
	if ip6 {
		family, kind = "ip6", "ipv6_addr"
	}
	if c[1] == "table" {
		again := n.options.Table != "" && n.options.Table != c[3]
		n.options.Table = c[3]
		return len(c) == 4 && !again
	}
	if c[3] != n.options.Table || len(c) < 6 {
		return false
	}
	what := c[4:]
	switch c[1] {
	case "chain": // NAME { type filter hook HOOK priority PRIORITY ; }
		end := len(what) - 2
		if len(what) < 9 || !slices.Equal(what[1:5], []string{"{", "type", "filter", "hook"}) || what[6] != "priority" || !slices.Equal(what[end:], []string{";", "}"}) {
			return false
		}
		priority, ok := chainPriority(what[7:end])
		if n.options.Chain != "" {
			return false // of several the kernel's sets have one rule only
		}
		n.options.Chain = what[0]
		n.options.Hooks = []firewall.Hook{{Name: what[5], Priority: priority}}
		return ok && slices.Contains(hookNames, what[5])
	case "set": // NAME { type ipv4_addr ; [flags interval ;] }
		rest, ok := cutWords(what, set, "{", "type", kind, ";")
		rest, _ = cutWords(rest, "flags", "interval", ";")
		return ok && slices.Equal(rest, []string{"}"})
	case "rule": // CHAIN [MATCH] ip saddr @SET BLOCK
		at := slices.Index(what, family)
		if at < 1 || what[0] != n.options.Chain {
			return false
		}
		block, ok := cutWords(what[at:], family, "saddr", "@"+set)
		if !ok || !n.takeMatch(what[1:at], *rules) || !n.takeBlock(block, ip6, *rules) {
			return false
		}
		*rules++
		return true
	}
	return false
}

func cutWords(words []string, want ...string) ([]string, bool) {
	if len(words) < len(want) || !slices.Equal(words[:len(want)], want) {
		return words, false
	}
	return words[len(want):], true
}

// takeMatch takes over what a rule looks for before the address; no is its number.
func (n *native) takeMatch(words []string, no int) bool {
	if len(words) == 0 {
		return no == 0
	}
	// A list in braces, or one word; nft knows more, which is not taken for it.
	plain := words[min(2, len(words)):]
	if n := len(plain); n > 2 && plain[0] == "{" && plain[n-1] == "}" {
		plain = plain[1 : n-1]
	} else if n != 1 {
		return false
	}
	if slices.ContainsFunc(plain, func(w string) bool { return !nftPlain.MatchString(w) }) {
		return false
	}
	list := strings.Join(plain, " ")
	switch {
	case len(words) > 2 && words[0] == "meta" && words[1] == "l4proto":
		n.protocols = append(n.protocols, list)
		return no == 0
	case len(words) > 2 && words[0] == "th" && words[1] == "dport":
		n.rule.AnyProtocol, n.ports = true, list
		return no == 0
	case len(words) > 2 && words[1] == "dport" && firewall.KnownProtocol(words[0]): // one without ports is told later
		if no > 0 && list != n.ports {
			return false
		}
		n.protocols, n.ports = append(n.protocols, words[0]), list
		return true
	}
	return false
}

// takeBlock takes over what a rule does with a packet; no is its number.
func (n *native) takeBlock(words []string, ip6 bool, no int) bool {
	was := n.rule
	family := 0
	if ip6 {
		family = 1
	}
	if words, n.rule.Count = cutWords(words, "counter"); len(words) == 0 {
		return false
	}
	switch words[0] {
	case "drop":
		n.rule.Drop = len(words) == 1
		if !n.rule.Drop {
			return false
		}
	case "reject":
		if len(words) > 1 {
			with, ok := firewall.KnownReject(words[2:], ip6)
			if !ok || words[1] != "with" {
				return false
			}
			n.rule.Reject[family] = with
		}
	default:
		return false
	}
	return no == 0 || was.Drop == n.rule.Drop && was.Count == n.rule.Count && was.Reject == n.rule.Reject
}

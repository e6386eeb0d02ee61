package config

import (
	"fmt"
	"slices"
	"strings"

	"bailiff/pkg/action"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/firewall"
)

// Words of a firewall that are a letter or two off: the program refuses them when the first
// ban is made, and nobody is banned.

// meant returns the word that one which is not known was most likely meant to be.
func meant(word string, known []string) string {
	for _, k := range known {
		if word == k {
			return ""
		}
	}
	for _, k := range known {
		if strings.EqualFold(word, k) || fail2ban.Letters(strings.ToLower(word), strings.ToLower(k), 1) == 1 || len(k) > 4 && fail2ban.Letters(strings.ToLower(word), strings.ToLower(k), 2) == 2 {
			return k
		}
	}
	return ""
}

// misspelt says which word of a command of nft's or iptables' is likely meant to be another,
// and the parameter that it comes from; empty: none.
func misspelt(d *action.Definition) (param, what string) {
	for _, family := range []string{"inet4", "inet6"} {
		all, err := d.Resolve(family)
		if err != nil {
			return "", ""
		}
		if commands, ok := nftCommands(all.Values["actionstart"]); ok {
			for _, c := range commands {
				if param, what = misspeltNFT(c); what != "" {
					return param, what
				}
			}
		}
		for _, command := range []string{"actionstart", "actionban"} {
			commands, ok := iptCommands(all.Values[command])
			for _, c := range commands {
				if m := iptEnsure.FindStringSubmatch(c); m != nil {
					c = m[1]
				}
				_, words, isOne := iptWords(c)
				at := slices.Index(words, "-j")
				if !ok || !isOne || at < 0 || at+1 >= len(words) {
					continue
				}
				if k := meant(words[at+1], []string{"REJECT", "DROP"}); k != "" {
					return "blocktype", fmt.Sprintf("iptables knows no %s: did you mean %s?", words[at+1], k)
				}
				if way, ok := cutWords(words[at+1:], "REJECT", "--reject-with"); ok && len(way) == 1 && iptRejects[way[0]] == "" {
					if k := meant(way[0], sortedKeys(iptRejects)); k != "" {
						return "blocktype", fmt.Sprintf("iptables knows no %s: did you mean %s?", way[0], k)
					}
				}
			}
		}
	}
	return "", ""
}

// misspeltNFT is misspelt for one command of nft's.
func misspeltNFT(words []string) (param, what string) {
	no := func(word string, known ...string) string {
		if k := meant(word, known); k != "" {
			return fmt.Sprintf("nft knows no %s: did you mean %s?", word, k)
		}
		return ""
	}
	if at := slices.Index(words, "hook"); len(words) > 2 && words[1] == "chain" && at > 0 && at+1 < len(words) {
		return "chain_hook", no(words[at+1], "prerouting", "input", "forward", "output", "postrouting", "ingress", "egress")
	}
	at := slices.Index(words, "saddr")
	if len(words) < 3 || words[1] != "rule" || at < 0 || at+2 >= len(words) {
		return "", ""
	}
	block, _ := cutWords(words[at+2:], "counter")
	if len(block) == 0 {
		return "", ""
	}
	if what = no(block[0], "drop", "reject", "counter"); what == "" && block[0] == "reject" && len(block) > 1 {
		with := slices.DeleteFunc(slices.Clone(block[1:]), func(w string) bool { return w == "type" })
		if len(with) == 0 {
			return "", ""
		}
		_, ok4 := firewall.KnownReject(with[1:], false)
		_, ok6 := firewall.KnownReject(with[1:], true)
		if what = no(with[0], "with"); what == "" && with[0] == "with" && !ok4 && !ok6 {
			what = fmt.Sprintf("nft knows no way to reject called %q", strings.Join(block[2:], " "))
		}
	}
	return "blocktype", what
}

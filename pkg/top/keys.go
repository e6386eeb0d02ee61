package top

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	tea "charm.land/bubbletea/v2"
)

// keysHelp are the keys, by what they do.
var keysHelp = [][2]string{
	{"up down pgup pgdn home end", "move"},
	{"tab", "between the jails and the list"},
	{"enter", "on a jail: only its events, and again: all; on an event: all that is known of it"},
	{"/", "search the bans in force: an address or a network, or a part of an id or of a jail's name; 192.0.2.7* is a part, too"},
	{"u", "lift the ban of who is chosen, in that jail (asks first)"},
	{"a", "let who is chosen in for an hour, in all jails (asks first)"},
	{"e", "show failures, too, or not"},
	{"esc", "leave what was asked for; back to events as they come"},
	{"?", "this page"},
	{"q", "quit"},
}

// key does what a key asks for.
func (m *Model) key(k tea.KeyPressMsg) tea.Cmd {
	name := k.String()
	if name == "ctrl+c" {
		return tea.Quit
	}
	switch m.mode {
	case searching:
		return m.searchKey(name, k.Text)
	case asking:
		m.mode = looking
		if answer := m.answer; name == "y" || name == "Y" {
			m.said, m.bad, m.answer = "…", false, nil
			return answer
		}
		m.said, m.bad, m.answer = "nothing was done", false, nil
		return nil
	case helping, showing:
		m.mode = looking
		if name != "q" {
			return nil
		}
	}
	m.said, m.bad = "", false
	switch name {
	case "q":
		return tea.Quit
	case "?", "h", "f1":
		m.mode = helping
	case "/":
		m.mode, m.input = searching, ""
	case "esc":
		m.query, m.jail, m.line, m.held = "", "", 0, 0
	case "tab", "shift+tab":
		m.pane = 1 - m.pane
	case "e":
		m.all, m.line, m.held = !m.all, 0, 0
	case "u", "a":
		m.about(name)
	case "enter":
		m.enter()
	default:
		m.move(name)
	}
	return nil
}

// about asks whether somebody is to be let in.
func (m *Model) about(name string) {
	ip, of := m.chosen()
	switch {
	case ip == "" && m.query != "" && !m.busy && asAddress(m.query):
		ip, of = m.query, m.jail
	case ip == "":
		m.said, m.bad = "nobody is chosen: move to a line with an address, or search for one with /", true
		return
	}
	m.mode = asking
	if name == "a" {
		m.question, m.answer = fmt.Sprintf("let %s in for an hour, in all jails? y/n", clean(ip)), m.allow(ip)
		return
	}
	where := "in all jails"
	if of != "" {
		where = "in " + clean(of)
	}
	m.question, m.answer = fmt.Sprintf("unban %s %s? y/n", clean(ip), where), m.unban(ip, of)
}

func (m *Model) enter() {
	switch {
	case m.pane == jailsPane && m.at < len(m.status.Jails):
		if name := m.status.Jails[m.at].Name; m.jail != name {
			m.jail = name
		} else {
			m.jail = ""
		}
		m.line, m.held = 0, 0
	case m.pane == listPane && m.query == "" && m.line < m.listLen():
		m.mode = showing
	}
}

// move moves what is chosen.
func (m *Model) move(name string) {
	at, n, page := &m.line, m.listLen(), max(m.listRows()-1, 1)
	if m.pane == jailsPane {
		at, n, page = &m.at, len(m.status.Jails), max(m.jailRows()-1, 1)
	}
	switch name {
	case "up", "k":
		*at--
	case "down", "j":
		*at++
	case "pgup":
		*at -= page
	case "pgdown", "space":
		*at += page
	case "home", "g":
		*at = 0
	case "end", "G":
		*at = n - 1
	default:
		return
	}
	*at = max(min(*at, n-1), 0)
	if m.pane == listPane && m.query == "" {
		m.held = 0
		if list := m.shown(); m.line > 0 && m.line < len(list) {
			m.held = list[m.line].N
		}
	}
}

// searchKey is a key while a text is typed.
func (m *Model) searchKey(name, text string) tea.Cmd {
	switch name {
	case "esc":
		m.mode = looking
	case "enter":
		m.mode, m.pane = looking, listPane
		if query := strings.TrimSpace(m.input); query != "" {
			return m.search(query)
		}
		m.query, m.line = "", 0
	case "backspace":
		if r := []rune(m.input); len(r) > 0 {
			m.input = string(r[:len(r)-1])
		}
	case "ctrl+u":
		m.input = ""
	default:
		m.typed(text)
	}
	return nil
}

// typed takes in what was typed or pasted.
func (m *Model) typed(text string) {
	for _, r := range text {
		if unicode.IsPrint(r) && len(m.input)+len(string(r)) <= inputMost {
			m.input += string(r)
		}
	}
}

// asAddress reports whether a text is an address or a network.
func asAddress(text string) bool {
	_, errA := netip.ParseAddr(text)
	_, errP := netip.ParsePrefix(text)
	return errA == nil || errP == nil
}

package transmit

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/jail"
	"bailiff/pkg/tags"
)

// What fail2ban's commands say of a jail's actions. Those whose work the firewall
// does can be asked for, and are changed in the configuration.

// everyAction are properties that all actions have, with fail2ban's values.
var everyAction = map[string]any{
	"actionban": "", "actioncheck": "", "actionflush": "", "actionreban": "", "actionreload": "", "actionrepair": "", "actionstart": "",
	"actionstop": "", "actionunban": "", "banEpoch": 0, "timeout": 60,
}

// truths are properties that are yes or no.
var truths = []string{"norestored", "actionstart_on_demand", "actionrepair_on_unban"}

func invalidAction(name string) error {
	return pyError("KeyError", "Invalid Action name: "+name)
}

// actionNames are a jail's actions, those of the firewall among them, in the order
// in which they are configured.
func actionNames(j *jail.Jail, s *config.Jail) []string {
	at := j.Actions().Names()
	var out []string
	for _, p := range s.Parts {
		if _, native := s.NativeAction(p.Name); p.Kind == "action" && (native || slices.Contains(at, p.Name)) {
			out = append(out, p.Name)
		}
	}
	for _, n := range at {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

func definition(j *jail.Jail, s *config.Jail, name string) (action.Definition, error) {
	if d, ok := s.NativeAction(name); ok {
		return d, nil
	}
	if d, ok := j.Actions().Definition(name); ok {
		return d, nil
	}
	return action.Definition{}, invalidAction(name)
}

// properties are an action's, as fail2ban has them.
func properties(d *action.Definition) map[string]any {
	out := map[string]any{}
	if d.Mail != nil {
		m := d.Mail
		out["host"], out["fromname"], out["fromaddr"], out["toaddr"] = m.Host, m.SenderName, m.Sender, strings.Join(m.To, ", ")
		out["user"], out["password"], out["matches"], out["norestored"] = orNone(m.User), orNone(m.Password), orNone(m.Matches), 1
		return out
	}
	for n, v := range everyAction {
		out[n] = v
	}
	for _, n := range d.Properties.Names {
		v := d.Properties.Values[n]
		switch {
		case n == "timeout":
			out[n] = int(d.Timeout / time.Second)
		case slices.Contains(truths, n) && v == "":
			out[n] = nil
		case slices.Contains(truths, n):
			out[n] = config.Truth(v)
		default:
			out[n] = v
		}
	}
	return out
}

func orNone(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func sortedNames(m map[string]any) control.List {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return stringsList(names)
}

// getAction answers get JAIL action NAME PROPERTY, actionproperties NAME and
// actionmethods NAME.
func getAction(j *jail.Jail, s *config.Jail, what string, more []string) (any, error) {
	if len(more) == 0 {
		return nil, pyError("IndexError", "list index out of range")
	}
	d, err := definition(j, s, more[0])
	if err != nil {
		return nil, err
	}
	switch what {
	case "actionproperties":
		return sortedNames(properties(&d)), nil
	case "actionmethods":
		return stringsList(action.Methods), nil
	}
	if len(more) < 2 {
		return nil, pyError("IndexError", "list index out of range")
	}
	if v, ok := properties(&d)[more[1]]; ok {
		return v, nil
	}
	return nil, noAttribute(more[1])
}

func noAttribute(name string) error {
	return pyError("AttributeError", fmt.Sprintf("'CommandAction' object has no attribute '%s'", name))
}

// setAction carries out set JAIL action NAME PROPERTY VALUE, and METHOD [JSON].
func (t *Transmitter) setAction(j *jail.Jail, c *command) (any, error) {
	name, what := c.word(3), c.word(4)
	s := j.Settings()
	if _, err := definition(j, &s, name); err != nil {
		return nil, err
	}
	if _, native := s.NativeAction(name); native {
		return nil, pyError("Exception", fmt.Sprintf("action %s is done by bailiff itself: change it in the configuration, and reload; one that differs from fail2ban's own is run as it is written", name))
	}
	if slices.Contains(action.Methods, what) {
		t, err := ticketOf(c)
		if err != nil {
			return nil, err
		}
		if err := j.Actions().Call(name, what, t); err != nil {
			return nil, pyError("RuntimeError", err.Error())
		}
		return nil, nil
	}
	if err := c.least(6); err != nil {
		return nil, err
	}
	value := c.word(5)
	if what != "timeout" {
		if err := t.fixedCommands(); err != nil {
			return nil, err
		}
	}
	err := j.Actions().Set(name, func(d *action.Definition) error { return setProperty(d, what, value) })
	if err != nil {
		return nil, pyError("ValueError", err.Error())
	}
	return getAction(j, &s, "action", []string{name, what})
}

func setProperty(d *action.Definition, name, value string) error {
	if d.Mail != nil {
		return errors.New("this action sends mail by itself: change it in the configuration, and reload")
	}
	switch name {
	case "bantime": // each ban has its own
		return nil
	case "timeout":
		t, err := config.ParseTime(value)
		if err != nil {
			return err
		}
		d.Timeout = t
	}
	d.Properties.Set(name, value)
	return nil
}

// ticketOf reads what a method is told, as JSON: {"aInfo": {"ip": "192.0.2.7", …}}.
func ticketOf(c *command) (*action.Ticket, error) {
	t := &action.Ticket{Groups: map[string]string{}}
	if len(c.words) < 6 {
		return t, nil
	}
	var given map[string]any
	if err := json.Unmarshal([]byte(c.word(5)), &given); err != nil {
		return nil, pyError("ValueError", err.Error())
	}
	if inner, ok := given["aInfo"].(map[string]any); ok {
		given = inner
	}
	text := func(key string) string {
		if v, ok := given[key]; ok && v != nil {
			return fmt.Sprint(v)
		}
		return ""
	}
	number := func(key string) int {
		n, _ := given[key].(float64)
		return int(n)
	}
	t.ID, t.Time, t.Failures, t.BanCount = text("ip"), text("time"), number("failures"), number("bancount")
	t.BanTime = time.Duration(number("bantime")) * time.Second
	if m := text("matches"); m != "" {
		t.Matches = strings.Split(m, "\n")
	}
	if ip, err := netip.ParseAddr(t.ID); err == nil {
		t.IP = ip
	} else if p, err := netip.ParsePrefix(t.ID); err == nil {
		t.ID, t.IP = p.String(), p.Addr()
	}
	return t, nil
}

// addAction carries out set JAIL addaction NAME [PYTHON JSON].
func (t *Transmitter) addAction(j *jail.Jail, c *command) (any, error) {
	name := c.word(3)
	s := j.Settings()
	if _, err := definition(j, &s, name); err == nil {
		return nil, pyError("ValueError", "Action "+name+" already exists")
	}
	def := action.Definition{Name: name, Properties: &tags.Options{}}
	if len(c.words) > 4 {
		if err := c.least(6); err != nil {
			return nil, err
		}
		var given map[string]any
		if err := json.Unmarshal([]byte(c.word(5)), &given); err != nil {
			return nil, pyError("ValueError", err.Error())
		}
		opts := &tags.Options{}
		for k, v := range given {
			opts.Set(k, fmt.Sprint(v))
		}
		var err error
		if def, err = config.NativeAction(name, c.word(4), opts); err != nil {
			return nil, pyError("RuntimeError", err.Error())
		}
	}
	if def.Mail == nil {
		if err := t.fixedCommands(); err != nil {
			return nil, err
		}
	}
	if err := j.Actions().Add(def); err != nil {
		return nil, pyError("ValueError", err.Error())
	}
	return name, nil
}

func (t *Transmitter) delAction(j *jail.Jail, name string) (any, error) {
	s := j.Settings()
	if _, err := definition(j, &s, name); err != nil {
		return nil, err
	}
	if err := j.Actions().Remove(name); err != nil {
		return nil, pyError("Exception", fmt.Sprintf("action %s is done by bailiff itself: take it out of the configuration, and reload", name))
	}
	return nil, nil
}

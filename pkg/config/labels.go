package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"bailiff/pkg/engine"
)

// Jails that containers enable by their labels, where [docker] labels allows it. Each is one of its
// own, made of the layers of a configured one or of a filter; so no label changes what somebody
// has configured. A label is others' text.

// LabelJails names, where jails are named whose bans count elsewhere ([check], [export], [report]), all those of
// containers' labels. Without a name they don't count: who sets labels can shut ports of his container, and no more.
const LabelJails = labelJail + "*"

// labelJail begins the names of such jails.
const labelJail = "docker-"

// Named reports whether a jail is one of those that are named; nil: all that are configured.
func Named(jails []string, jail string, labelled bool) bool {
	if labelled {
		return slices.Contains(jails, jail) || slices.Contains(jails, LabelJails)
	}
	return jails == nil || slices.Contains(jails, jail) || slices.Contains(jails, allJails)
}

// allJails names all jails that are configured.
const allJails = "all"

// labelPrefix begins the labels that are meant for us.
const labelPrefix = "bailiff."

const (
	// labelMost is how many bytes a label's value may have.
	labelMost = 64
	// labelPortsMost is how many ranges of ports a jail of labels may shut.
	labelPortsMost = 64
)

// LabelOptions say what labels may do.
type LabelOptions struct {
	Allowed bool       // they may enable a jail
	Port    stringList // what is shut; nil: what the container publishes
	// Ranges are those in which labels may set a key: maxretry, and findtime and bantime in
	// nanoseconds. A key that isn't there can't be set.
	Ranges map[string]LabelRange
}

// LabelRange is a range of values, both ends in it, with the words of the configuration for them.
type LabelRange struct {
	Least, Most         int64
	LeastText, MostText string
}

// labelValues read the values of the keys that labels can set.
var labelValues = map[string]func(string) (int64, error){
	"maxretry": func(s string) (int64, error) {
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil {
			return 0, fmt.Errorf("%.80q: want a number", s)
		}
		return n, nil
	},
	"findtime": func(s string) (int64, error) {
		d, err := ParseTime(s)
		return int64(d), err
	},
	"bantime": func(s string) (int64, error) {
		d, err := ParseTime(s)
		if d < 0 { // for ever
			return math.MaxInt64, err
		}
		return int64(d), err
	},
}

// labelOptions reads what of [docker] is on labels.
func (l *loader) labelOptions(raw rawDocker, fail func(string, ...any) func(...string)) {
	o := &l.cfg.Docker.Labels
	o.Allowed = raw.Labels != nil && *raw.Labels
	if raw.Port != nil {
		if _, err := ParsePorts(raw.Port); err != nil || len(words(raw.Port)) == 0 {
			if err == nil {
				err = fmt.Errorf("port: nothing is named: want ports, or all")
			}
			fail("[docker] %v", err)("docker", "port")
		} else {
			o.Port = raw.Port
		}
	}
	for _, r := range []struct {
		key  string
		text *text
	}{{"maxretry", raw.MaxRetry}, {"findtime", raw.FindTime}, {"bantime", raw.BanTime}} {
		if r.text == nil {
			continue
		}
		of, err := parseLabelRange(r.key, string(*r.text))
		if err != nil {
			fail("[docker] %s = %q: %v", r.key, *r.text, err)("docker", r.key)
			continue
		}
		if o.Ranges == nil {
			o.Ranges = map[string]LabelRange{}
		}
		o.Ranges[r.key] = of
	}
}

func parseLabelRange(key, text string) (r LabelRange, err error) {
	least, most, ok := strings.Cut(text, "-")
	r.LeastText, r.MostText = strings.TrimSpace(least), strings.TrimSpace(most)
	if !ok || r.LeastText == "" || r.MostText == "" {
		return r, fmt.Errorf("want a range, as \"3-10\" or \"10m-1d\"")
	}
	if r.Least, err = labelValues[key](r.LeastText); err != nil {
		return r, err
	}
	if r.Most, err = labelValues[key](r.MostText); err != nil {
		return r, err
	}
	if r.Least < 1 || r.Least > r.Most || r.Most == math.MaxInt64 {
		return r, fmt.Errorf("want a range from something more than nothing to no less than that")
	}
	return r, nil
}

// labelMaker makes jails of labels from what was read of the files at one time.
type labelMaker struct {
	mu sync.Mutex
	l  *loader
}

// keepForLabels keeps the layers of jails, where labels may ask for them.
func (l *loader) keepForLabels() {
	if !l.cfg.Docker.Labels.Allowed {
		return
	}
	cfg := *l.cfg // who has loaded it forgets filters
	cfg.Jails, cfg.Settings, cfg.Errors, cfg.Warnings, cfg.labels = nil, nil, nil, nil, nil
	of := *l
	of.cfg, of.was, of.all, of.unsure = &cfg, nil, false, nil
	l.cfg.labels = &labelMaker{l: &of}
}

// IsLabelled reports whether a container has a label that is meant for us.
func IsLabelled(c *engine.Container) bool {
	for key := range c.Labels {
		if strings.HasPrefix(key, labelPrefix) {
			return true
		}
	}
	return false
}

// LabelJail makes the jail that a container's labels ask for; nil: none, or one that can't be had.
// told is what is to be told of labels that don't have what they ask for. Like any jail, it may be
// one that can't start ([Jail.Broken]).
func (c *Config) LabelJail(of *engine.Container) (j *Jail, told []string) {
	if c.labels == nil || !c.Docker.Labels.Allowed {
		return nil, nil
	}
	c.labels.mu.Lock()
	defer c.labels.mu.Unlock()
	return c.labels.l.labelJail(of, c.Docker)
}

func (l *loader) labelJail(c *engine.Container, docker Docker) (j *Jail, told []string) {
	tell := func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }
	var keys []string
	for key := range c.Labels {
		if strings.HasPrefix(key, labelPrefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	base, raw := "", rawJail{}
	for i, key := range keys {
		value := c.Labels[key]
		name := strings.TrimPrefix(key, labelPrefix)
		if i == 16 {
			tell("%d more labels are for bailiff: they have no effect", len(keys)-i)
			break
		}
		if _, known := labelValues[name]; !known && name != "jail" {
			tell("label %.80q is none that bailiff has (bailiff.jail, .maxretry, .findtime, .bantime): it has no effect", key)
			continue
		}
		if !isLabelValue(value) {
			tell("label %s=%.80q: want 1 to %d letters, digits, and . _ -: it has no effect", key, value, labelMost)
			continue
		}
		if name == "jail" {
			base = value
			continue
		}
		l.labelValue(&raw, name, value, docker.Labels.Ranges, tell)
	}
	if _, given := c.Labels[labelPrefix+"jail"]; base == "" {
		if given {
			return nil, told
		}
		tell("no label bailiff.jail names a jail: it has none")
		return nil, told
	}
	configured := l.jails[base]
	if configured == nil && l.cfg.Filters[base] == nil {
		tell("label bailiff.jail=%q: there is no such jail, and no filter of that name", base)
		return nil, told
	}
	name := labelJail + c.Name
	if checkName(name, false) != nil {
		name = labelJail + c.ID[:12]
	}
	if l.jails[name] != nil {
		tell("label bailiff.jail=%q: jail %s would be made, and is one of the configuration: rename the container", base, name)
		return nil, told
	}
	port, protocol := docker.Labels.Port, stringList(nil)
	if port == nil {
		var left []string
		port, protocol, left = labelPorts(c.Ports)
		switch {
		case len(port) == 0:
			tell("label bailiff.jail=%q: the container publishes no port that could be shut: publish one, or set [docker] port", base)
			return nil, told
		case len(port) > labelPortsMost:
			tell("label bailiff.jail=%q: the container publishes %d ranges of ports, %d are the most: set [docker] port", base, len(port), labelPortsMost)
			return nil, told
		case len(left) > 0:
			tell("ports %s are not shut by its jail, those of %s are: set [docker] port for others", strings.Join(left[:min(len(left), 10)], ", "), protocol[0])
		}
	}
	keyEnabled.set(&raw, true)
	keyBackend.set(&raw, "docker")
	keyContainer.set(&raw, stringList{"id=" + c.ID})
	keyLogPath.set(&raw, stringList{})
	keyPort.set(&raw, port)
	if protocol != nil {
		keyProtocol.set(&raw, protocol)
	}
	layers := &jailLayers{}
	if configured != nil {
		layers.layers = slices.Clone(configured.layers)
		layers.read()
	}
	r := &resolver{}
	if l.defaults != nil {
		r.layers = append(r.layers, l.defaults)
	}
	for i := range layers.layers {
		r.layers = append(r.layers, &layers.layers[i])
	}
	if pick(r, keyFilter).v == "" && pick(r, keyFailregex).v == nil {
		keyFilter.set(&raw, base)
	}
	layers.layers = append(layers.layers, layer{file: "labels of container " + c.Short(), raw: raw})
	l.jails[name] = layers
	j = l.resolve(name)
	delete(l.jails, name)
	if j == nil {
		tell("label bailiff.jail=%q: the settings of that jail can't be read from its files", base)
		return nil, told
	}
	switch {
	case j.List != nil:
		tell("label bailiff.jail=%q: it is a list of addresses, and reads no log", base)
		return nil, told
	case j.IgnoreCommand != "":
		tell("label bailiff.jail=%q: it has an ignorecommand, and jails of labels run no commands: no jail is made", base)
		return nil, told
	}
	if len(j.Actions) > 0 {
		tell("label bailiff.jail=%q: the actions of that jail are not run for the container's", base)
		j.Actions = nil
		j.Parts = slices.DeleteFunc(j.Parts, func(p Part) bool { return p.Kind == "action" })
	}
	j.Labelled = c.Short()
	return j, told
}

// labelValue sets a key to what a label says, within the range that is allowed.
func (l *loader) labelValue(raw *rawJail, key, value string, ranges map[string]LabelRange, tell func(string, ...any)) {
	of, ok := ranges[key]
	if !ok {
		tell("label bailiff.%s=%q has no effect: [docker] %s sets no range for it", key, value, key)
		return
	}
	n, err := labelValues[key](value)
	if err != nil {
		tell("label bailiff.%s: %v: it has no effect", key, err)
		return
	}
	switch {
	case n < of.Least:
		tell("label bailiff.%s=%q is taken for %s, the least that [docker] %s allows", key, value, of.LeastText, key)
		n, value = of.Least, of.LeastText
	case n > of.Most:
		tell("label bailiff.%s=%q is taken for %s, the most that [docker] %s allows", key, value, of.MostText, key)
		n, value = of.Most, of.MostText
	}
	as := text(value)
	switch key {
	case "maxretry":
		keyMaxRetry.set(raw, int(n))
	case "findtime":
		keyFindTime.set(raw, as)
	case "bantime":
		keyBanTime.set(raw, as)
	}
}

func isLabelValue(s string) bool {
	if s == "" || len(s) > labelMost {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c-'0' <= 9, c|0x20 >= 'a' && c|0x20 <= 'z', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// labelPorts are the ports that a container publishes, as ranges, of tcp if there are any; and of
// others that have the same ones. A jail's ports are of all of its protocols, and a port of the other
// protocol may be somebody else's: those are left.
func labelPorts(ports []engine.Port) (list, protocol stringList, left []string) {
	by := map[string][]int{}
	for _, p := range ports {
		if n := int(p.Number); !slices.Contains(by[p.Protocol], n) { // there are two for IPv4 and IPv6
			by[p.Protocol] = append(by[p.Protocol], n)
		}
	}
	for _, name := range []string{"tcp", "udp", "sctp"} {
		of := by[name]
		slices.Sort(of)
		var ranges stringList
		for i := 0; i < len(of); i++ {
			first := of[i]
			for i+1 < len(of) && of[i+1] == of[i]+1 {
				i++
			}
			if first == of[i] {
				ranges = append(ranges, strconv.Itoa(first))
			} else {
				ranges = append(ranges, fmt.Sprintf("%d:%d", first, of[i]))
			}
		}
		switch {
		case len(ranges) == 0:
		case list == nil:
			list, protocol = ranges, stringList{name}
		case !slices.Equal(ranges, list): // a jail's ports are of all of its protocols
			for _, r := range ranges {
				left = append(left, r+"/"+name)
			}
		default:
			protocol = append(protocol, name)
		}
	}
	return list, protocol, left
}

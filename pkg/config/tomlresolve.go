package config

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/filter"
	"bailiff/pkg/firewall"
	"bailiff/pkg/source"
	"bailiff/pkg/transport"
)

// What a jail is, from all layers that say something of it.

// value is a setting with the layer that it comes from.
type value[T any] struct {
	v  T
	at *layer
}

// resolver picks values: the last layer that says something wins.
type resolver struct {
	layers []*layer
	errs   []error
	home   *layer // that enables the jail: where what is missing should stand
}

// pick is what the last layer that has a key says of it; else what holds without it.
func pick[T any](r *resolver, k *jailKey[T]) value[T] {
	for _, l := range slices.Backward(r.layers) {
		if p := k.of(&l.raw); p != nil {
			return value[T]{*p, l}
		}
	}
	return value[T]{v: k.standard}
}

// text is the same as a text, and the layer; nil: none has the key.
func (r *resolver) text(key string) (string, *layer) {
	for _, l := range slices.Backward(r.layers) {
		if v, ok := l.raw.values[key]; ok {
			return settingText(v), l
		}
	}
	return "", nil
}

func (r *resolver) fail(at *layer, key string, err error) {
	if at == nil {
		at, key = r.home, "enabled"
	}
	if at == nil || at.doc == nil {
		r.errs = append(r.errs, err)
		return
	}
	r.errs = append(r.errs, &Error{at.file, at.line(key), err.Error()})
}

// warn says something of a key of a jail, with its place.
func (r *resolver) warn(j *Jail, at *layer, key, format string, args ...any) {
	var err error = fmt.Errorf("jail %s: "+format, append([]any{j.Name}, args...)...)
	if at != nil && at.doc != nil {
		err = &Error{at.file, at.line(key), err.Error()}
	}
	j.Warnings = append(j.Warnings, err)
}

// misplaced says of keys that are of one backend and stand in the table of a jail with another one.
// In [default] they are for the jails that have it.
func (r *resolver) misplaced(j *Jail) {
	for i := range r.layers {
		at := r.layers[i]
		if at.doc == nil || at.stock || len(at.table) == 1 { // of the command line, ours, [default]
			continue
		}
		for _, k := range []struct {
			key     string
			of      bool
			backend string
		}{
			{keyContainer.name, j.Containers != nil, "docker"},
			{keyListen.name, j.Syslog != nil, "syslog"},
			{keyAllow.name, j.Syslog != nil, "syslog"},
			{keyMatch.name, j.Syslog != nil, "syslog"},
			{keyTrustTime.name, j.Syslog != nil, "syslog"},
			{keyTrustName.name, j.Syslog != nil, "syslog"},
		} {
			if at.raw.says(k.key) && !k.of {
				r.warn(j, at, k.key, "%s has no effect without backend = %q", k.key, k.backend)
			}
		}
		if backend := keyBackend.of(&at.raw); backend != nil && at.raw.says(keyLogPath.name) && (j.Containers != nil || j.Syslog != nil) {
			r.warn(j, at, "logpath", "logpath is not read: backend = %q reads no files", *backend)
		}
	}
}

func (l *layer) line(key string) int {
	path := append(slices.Clone(l.table), key)
	if !l.doc.holds(path...) { // ban.prefix4, other than bantime.factor, is not one word
		path = append(slices.Clone(l.table), strings.Split(key, ".")...)
	}
	return l.doc.line(path...)
}

// mistakes tells of what can't be read of a jail's layers: as a fault if nothing depends
// on it. known: whether it is enabled can be told all the same.
func (r *resolver) mistakes() (faults []error, known bool) {
	known = true
	for i, l := range r.layers {
		if l.unread != nil {
			r.errs = append(r.errs, l.unread)
			known = known && r.says("enabled", i+1)
		}
		for _, m := range l.mistakes {
			ofDefault := len(l.table) == 1 // told by itself
			switch {
			case !m.unknown && !r.says(strings.Join(m.key, "."), i+1):
				r.errs = append(r.errs, m.err)
				if len(m.key) == 0 || m.key[0] == "enabled" {
					known = known && r.says("enabled", i+1)
				}
			case !ofDefault:
				faults = append(faults, m.err)
			}
		}
	}
	return faults, known
}

// says reports whether a layer from a number on sets a key, or an action.
func (r *resolver) says(key string, from int) bool {
	return slices.ContainsFunc(r.layers[from:], func(l *layer) bool {
		if of, ok := strings.CutPrefix(key, "action."); ok {
			name, _, _ := strings.Cut(of, ".")
			_, ok := l.raw.action[name]
			return ok
		}
		return l.raw.says(key)
	})
}

// runs reports whether a running daemon has the jail.
func (l *loader) runs(name string) bool {
	return l.was != nil && slices.ContainsFunc(l.was.Jails, func(j *Jail) bool { return j.Name == name })
}

// resolve puts the layers of a jail together; nil for a jail that is not enabled.
func (l *loader) resolve(name string) *Jail {
	layers := l.jails[name]
	if !l.all && l.stockAlone(layers) {
		return nil
	}
	layers.read()
	r := &resolver{}
	j := &Jail{Name: name}
	if l.defaults != nil {
		r.layers = append(r.layers, l.defaults)
	}
	users := false // the administrator speaks of it
	for i := range layers.layers {
		r.layers = append(r.layers, &layers.layers[i])
		j.Sources = append(j.Sources, layers.layers[i].file)
		users = users || !layers.layers[i].stock
	}
	var known bool
	j.Faults, known = r.mistakes()
	if !known {
		// Whether it is enabled can't be told; better an error too many than a jail that
		// is off without a word, or one that stops.
		if users || l.runs(name) {
			j.Errors = r.errs
			return j
		}
	}
	enabled := pick(r, keyEnabled)
	r.home = enabled.at
	if !known || !enabled.v {
		for _, of := range r.layers {
			if of != l.defaults { // of which all is told
				for _, m := range of.mistakes {
					l.complain(m.err)
				}
				if of.unread != nil {
					l.complain(of.unread)
				}
			}
		}
		if !l.all {
			return nil
		}
		j.Disabled, j.Faults, r.errs = true, nil, nil
	}
	if err := checkName(name, l.cfg.NoFirewall); err != nil {
		r.fail(nil, "", err)
	}
	duration := func(k *jailKey[text], wrong func(time.Duration) string) time.Duration {
		v := pick(r, k)
		d, err := ParseTime(string(v.v))
		if err != nil {
			r.fail(v.at, k.name, fmt.Errorf("%s: %w", k.name, err))
		} else if text := wrong(d); text != "" {
			r.fail(v.at, k.name, fmt.Errorf("%s %s: %s", k.name, v.v, text))
		}
		return d
	}
	j.FindTime = duration(keyFindTime, wrongFindTime)
	j.BanTime = duration(keyBanTime, wrongBanTime)
	retry := pick(r, keyMaxRetry)
	if j.MaxRetry = retry.v; retry.v < 1 {
		r.fail(retry.at, "maxretry", fmt.Errorf("maxretry %d: want 1 or more", retry.v))
	}
	l.bans(r, j)

	j.Rule = firewall.Rule{Jail: name, Prefix4: j.Networks.Prefix4, Prefix6: j.Networks.Prefix6}
	j.Unenforced = l.cfg.NoFirewall
	j.Actions = r.actions(name)
	ports := pick(r, keyPort)
	var err error
	if j.Rule.Ports, err = ParsePorts(ports.v); err != nil {
		r.fail(ports.at, "port", err)
	}
	protocols := pick(r, keyProtocol)
	if j.Rule.Protocols, err = parseProtocols(protocols.v); err != nil {
		r.fail(protocols.at, "protocol", err)
	}
	if err := portsNeed(&j.Rule); err != nil {
		r.fail(protocols.at, "protocol", err)
	}
	block := pick(r, keyBlockType)
	switch block.v {
	case "reject":
	case "drop":
		j.Rule.Drop = true
	default:
		r.fail(block.at, "blocktype", fmt.Errorf("blocktype %q: want reject or drop", block.v))
	}
	j.Observe = pick(r, keyObserve).v

	logs := pick(r, keyLogPath)
	for _, p := range logs.v {
		for _, g := range strings.Fields(p) {
			if n := len(j.LogPath); n > 0 && (g == "tail" || g == "head" || g == "fifo") { // as fail2ban: FILE tail
				switch g {
				case "tail":
					j.LogTail = append(j.LogTail, j.LogPath[n-1])
				case "fifo":
					j.LogFIFO = append(j.LogFIFO, j.LogPath[n-1])
				}
				continue
			}
			if _, err := filepath.Match(g, ""); err != nil {
				r.fail(logs.at, "logpath", fmt.Errorf("logpath %q: %w", g, err))
				continue
			}
			j.LogPath = append(j.LogPath, g)
		}
	}
	if list := pick(r, keyList); list.v != nil {
		for _, p := range list.v {
			if _, err := filepath.Match(p, ""); (err != nil || p == "") && !isURL(p) {
				r.fail(list.at, "list", fmt.Errorf("list %q: want a file, or a pattern of some", p))
			}
			j.List = append(j.List, p)
		}
		l.listURLs(r, j)
		if len(j.LogPath) > 0 {
			r.fail(logs.at, "logpath", errors.New("a jail has a list or a log, not both"))
		}
		l.ignore(r, j)
		j.Settings = r.settings()
		if !j.Ignore.Self {
			j.Warnings = append(j.Warnings, j.placed([]string{"ignoreself"}, "jail %s: ignoreself = false has no effect on a list: this host is never shut out by one", name))
		}
		j.Errors = append(j.Errors, r.errs...)
		return j
	}
	if j.Observe {
		j.Unenforced, j.Observed, j.Actions = true, j.Actions, nil
	}
	backend := pick(r, keyBackend)
	if isDocker(backend.v) {
		l.containers(r, j)
	} else if isSyslog(backend.v) {
		l.syslogJail(r, j)
		if logs.at != nil && logs.at.file == "--jail" {
			j.Syslog = nil // a log was given on the command line
		}
	} else if j.Journal, j.Polling, err = ParseBackend(backend.v); err != nil {
		r.fail(backend.at, "backend", err)
	}
	if j.Journal != nil {
		match := pick(r, keyJournalMatch)
		if match.v == nil {
			name, _, _ := strings.Cut(cmp.Or(pick(r, keyFilter).v, name), "[")
			if f := l.cfg.filterNamed(name); f != nil {
				match.v = f.raw.Journal
			}
		}
		if j.Journal.Matches, err = journalMatches(match.v); err != nil {
			r.fail(match.at, "journalmatch", err)
		}
		if logs.at != nil && logs.at.file == "--jail" {
			j.Journal = nil // a log was given on the command line
		}
	}
	if logs.at != nil && logs.at.file == "--jail" {
		j.Containers = nil
	} else {
		r.misplaced(j)
	}
	if j.Containers != nil || j.Syslog != nil {
		j.LogPath, j.LogTail, j.LogFIFO = nil, nil, nil
	}
	if len(j.LogPath) == 0 && j.Journal == nil && j.Containers == nil && j.Syslog == nil && len(r.errs) == 0 && !j.Disabled {
		r.fail(nil, "", fmt.Errorf("no logpath: set it in jails/%s.toml or with --jail %s=FILE", name, name))
	}
	l.ignore(r, j)
	if enc := pick(r, keyLogEncoding); enc.v != "" {
		if j.Encoding, err = source.LookupEncoding(enc.v); err != nil {
			r.fail(enc.at, "logencoding", err)
		} else if j.Syslog != nil && j.Encoding.Wide() {
			r.fail(enc.at, "logencoding", fmt.Errorf("logencoding %q: messages of syslog can't be in it", enc.v))
		}
	}
	l.resolveFilter(r, j)
	r.counting(j)
	j.Settings = r.settings()
	j.warnProxies()
	for _, a := range slices.Concat(j.Actions, j.Observed) {
		p := Part{Kind: "action", Name: a.Name}
		for _, n := range a.Properties.Names {
			p.Settings = append(p.Settings, Setting{Name: n, Value: a.Properties.Values[n]})
		}
		j.Parts = append(j.Parts, p)
	}
	j.Parts = append(j.Parts, filterPart(cmp.Or(pick(r, keyFilter).v, j.Name), &j.Filter, nil))
	j.Errors = append(j.Errors, r.errs...)
	return j
}

func (l *loader) ignore(r *resolver, j *Jail) {
	j.IgnoreCommand = pick(r, keyIgnoreCommand).v
	if c := pick(r, keyIgnoreCache); c.v != "" {
		var err error
		if j.IgnoreCache, err = ParseIgnoreCache(c.v); err != nil {
			r.fail(c.at, "ignorecache", err)
		}
	}
	list := pick(r, keyIgnoreIP)
	j.Ignore.Self = pick(r, keyIgnoreSelf).v
	j.Ignore.SSH = pick(r, keyIgnoreSSH).v
	j.Ignore.Host = true
	for _, item := range list.v {
		for _, s := range strings.FieldsFunc(item, isListSpace) {
			if err := j.Ignore.Add(s); err != nil {
				err = fmt.Errorf("%w: left out, the others hold", err)
				if list.at != nil && list.at.doc != nil {
					err = &Error{list.at.file, lineWith(list.at.doc.text, list.at.line("ignoreip"), s), err.Error()}
				}
				j.Faults = append(j.Faults, err)
			}
		}
	}
	if err := wide("ignoreip", j.Ignore.Prefixes); err != nil {
		if list.at != nil && list.at.doc != nil {
			err = &Error{list.at.file, list.at.line("ignoreip"), err.Error()}
		}
		j.Warnings = append(j.Warnings, fmt.Errorf("jail %s: %w", j.Name, err))
	}
}

func (l *loader) resolveFilter(r *resolver, j *Jail) {
	name := pick(r, keyFilter)
	mode := pick(r, keyMode)
	j.Mode = mode.v
	own := pick(r, keyFailregex)
	if name.v == "" && own.v == nil {
		name.v = j.Name
	}
	def := filter.Definition{Name: j.Name, Head: filter.HeadEither}
	if name.v != "" {
		// name[mode=…] is fail2ban's form.
		bare, options, hasOptions := strings.Cut(name.v, "[")
		m := mode.v
		if hasOptions {
			option, ok := strings.CutPrefix(strings.TrimSuffix(options, "]"), "mode=")
			if !ok || !strings.HasSuffix(options, "]") {
				r.fail(name.at, "filter", fmt.Errorf("filter %q: want NAME or NAME[mode=MODE]", name.v))
			}
			m = strings.Trim(option, `"'`)
			j.Mode = m
		}
		d, err := l.cfg.FilterDefinition(bare, m)
		if err != nil && own.v == nil {
			r.fail(name.at, "filter", fmt.Errorf("filter %q: %w", name.v, err))
		}
		if err == nil {
			def = d
		}
	}
	if own.v != nil {
		def.Failregex = weighed(own.v, func(list []string) []filter.Expr { return expressions(list, own.at, "failregex") })
	}
	if ign := pick(r, keyIgnoreregex); ign.v != nil {
		def.Ignoreregex = expressions(ign.v, ign.at, "ignoreregex")
	}
	if dates := pick(r, keyDatePattern); dates.v != nil {
		def.DatePattern = dates.v
	}
	if pre := pick(r, keyPrefregex); pre.at != nil {
		def.Prefregex = filter.Expr{Text: pre.v, File: pre.at.file}
		if pre.at.doc != nil {
			def.Prefregex.Line = pre.at.line("prefregex")
		}
	}
	if lines := pick(r, keyMaxLines); lines.at != nil {
		if def.MaxLines = lines.v; lines.v < 1 {
			r.fail(lines.at, "maxlines", fmt.Errorf("maxlines %d: want 1 or more", lines.v))
		}
	}
	zone := pick(r, keyLogTimezone)
	def.LogTimezone, def.Year = zone.v, time.Now().Year()
	around := pick(r, keyTransport)
	var err error
	if def.Transport, err = transport.ParseNames(words(around.v)); err != nil {
		r.fail(around.at, "transport", err)
	}
	dns := pick(r, keyUseDNS)
	def.UseDNS = filter.UseDNS(dns.v)
	if !slices.Contains([]filter.UseDNS{filter.DNSYes, filter.DNSWarn, filter.DNSNo, filter.DNSRaw}, def.UseDNS) {
		r.fail(dns.at, "usedns", fmt.Errorf("usedns %q: want yes, warn, no or raw", dns.v))
	}
	def.Proxies = l.proxies(r, j)
	j.Filter = def
	if len(r.errs) == 0 && len(j.Errors) == 0 {
		if _, err := filter.Compile(def, time.UTC); err != nil {
			err = fmt.Errorf("filter %q: %w", cmp.Or(name.v, j.Name), err)
			var placed *filter.ExprError
			if errors.As(err, &placed) && placed.File != "" {
				r.errs = append(r.errs, err)
			} else {
				r.fail(name.at, "filter", err)
			}
		}
	}
}

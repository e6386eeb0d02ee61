package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/safefile"
)

// What was changed over the socket or by the page, for good. The configuration is the administrator's, and
// the daemon only reads it; so what it writes stands in a directory of its own, jails.d beside the database, and
// is read last. Of such a file counts a line each of a few keys, and nothing else: who takes over the daemon, or a
// page, gets no further by it than to change how many failures are too many. So it is read line by line, and what
// is no such line does not come to TOML at all.

// KeptKeys are those that count in a file of jails.d.
var KeptKeys = []string{"enabled", "observe", "maxretry", "findtime", "bantime", "filter"}

const (
	keptDir = "jails.d"
	// keptFiltersDir has filters that were saved by the page, under names that no other has.
	keptFiltersDir = "filters.d"
	// keptMost is how long a file of it may be, and keptFiles how many of them are read.
	keptMost  = 64 << 10
	keptFiles = 1000
)

// keptLine is a line that counts.
var keptLine = lazyregexp.New(`^\s*([a-z]+)\s*=\s*(true|false|-?[0-9]{1,18}|"[^"\\\x00-\x1f\x7f]{0,200}"|'[^'\x00-\x1f\x7f]{0,200}')\s*(?:#[^\x00-\x08\x0a-\x1f\x7f]*)?$`)

// KeptPath is the file of a jail's settings that were changed for good; empty: nothing is kept, since the database
// isn't, or by fail2ban's configuration, in which it has no place.
func (c *Config) KeptPath(jail string) string {
	if c.kept == "" || c.Fail2ban != nil || checkName(jail, true) != nil {
		return ""
	}
	return filepath.Join(c.kept, jail+".toml")
}

// cleanKept leaves of a file the lines that count, each in its place, and says what is wrong with the others.
func cleanKept(file string, data []byte) (clean []byte, refused []error) {
	seen := map[string]bool{}
	var out bytes.Buffer
	for i, line := range strings.Split(string(data), "\n") {
		bare := strings.TrimSpace(line)
		switch m := keptLine.FindStringSubmatch(line); {
		case bare == "" || strings.HasPrefix(bare, "#"):
		case m == nil || !slices.Contains(KeptKeys, m[1]):
			refused = append(refused, &Error{file, i + 1, fmt.Sprintf("%.60q does not count here, where the daemon keeps what was changed over its socket or by its page: a line is KEY = VALUE, the keys are %s; everything else belongs into the configuration: take the line out", bare, strings.Join(KeptKeys, ", "))})
		case seen[m[1]]:
			refused = append(refused, &Error{file, i + 1, fmt.Sprintf("%s stands in the file twice, and the first one counts: take the line out", m[1])})
		case wrongKept(m[1], m[2]) != "":
			refused = append(refused, &Error{file, i + 1, fmt.Sprintf("%s = %s does not count: %s", m[1], m[2], wrongKept(m[1], m[2]))})
		default:
			seen[m[1]] = true
			out.WriteString(line)
		}
		out.WriteByte('\n')
	}
	return out.Bytes(), refused
}

// wrongKept says why a value is none of a key's; empty: it is one.
func wrongKept(key, value string) string {
	word := value == "true" || value == "false"
	text := strings.Trim(value, `"'`)
	switch key {
	case "enabled", "observe":
		if !word {
			return "want true or false"
		}
	case "maxretry":
		if n, err := strconv.Atoi(value); err != nil || n < 1 {
			return "want 1 or more"
		}
	case "filter":
		if word || text == value || text == "" {
			return "want the name of a filter"
		}
	case "findtime", "bantime":
		d, err := ParseTime(text)
		switch {
		case word:
			return "want a time, as 10m"
		case err != nil:
			return err.Error()
		case key == "findtime":
			return wrongFindTime(d)
		}
		return wrongBanTime(d)
	}
	return ""
}

// keptLayers reads what was changed for good, and what holds for now (Options.Now).
func (l *loader) keptLayers(opts Options) {
	if l.cfg.kept = opts.State; l.cfg.kept == "" && l.cfg.Database.Path != "" {
		l.cfg.kept = filepath.Dir(l.cfg.Database.Path)
	}
	if l.cfg.Fail2ban != nil {
		return
	}
	if l.cfg.kept != "" {
		answers := l.keptFilters(filepath.Join(l.cfg.kept, keptFiltersDir))
		l.cfg.kept = filepath.Join(l.cfg.kept, keptDir)
		if answers { // else that was waited for once
			l.keptFiles(l.cfg.kept)
		}
	}
	for _, name := range sortedKeys(opts.Now) {
		l.keptFile(name, NowFile, []byte(opts.Now[name]))
	}
}

// NowFile stands for the file of settings that hold until the next reload.
const NowFile = "(until the next reload)"

func (l *loader) keptFiles(dir string) { l.eachKept(dir, l.keptFile) }

// keptFilters reads filters that were saved over the socket. They take no other's place: else who took over a page could
// have a jail find nobody.
func (l *loader) keptFilters(dir string) (answers bool) {
	return l.eachKept(dir, func(name, file string, data []byte) {
		switch have := l.cfg.Filters[name]; {
		case !filterName.MatchString(name):
			l.complain(&Error{file, 0, "it is not read: want letters, digits, _ and - as its name, 64 at the most"})
		case have != nil:
			l.complain(&Error{file, 0, fmt.Sprintf("it is not read: there is a filter %s already (%s): give it another name, or remove it", name, have.Source)})
		default:
			l.filter(name, file, data, nil)
		}
	})
}

var filterName = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$`)

// KeptFilterPath is the file of a filter that is saved over the socket. The error says why there can be none: by that
// name, or at all.
func (c *Config) KeptFilterPath(name string) (string, error) {
	switch {
	case c.Fail2ban != nil:
		return "", errors.New("the configuration is one of fail2ban's: filters belong into its filter.d")
	case c.kept == "":
		return "", errors.New("nothing is kept here, since [database] path is \"None\"")
	case !filterName.MatchString(name):
		return "", fmt.Errorf("filter %.80q: want letters, digits, _ and - as its name, 64 at the most", name)
	}
	path := filepath.Join(filepath.Dir(c.kept), keptFiltersDir, name+".toml")
	if have := c.Filters[name]; have != nil && have.Source != path {
		return "", fmt.Errorf("there is a filter %s already (%s): choose another name", name, have.Source)
	}
	return path, nil
}

// keptPatience is how long is waited for the disk of what the daemon writes: the daemon starts without it. Tests have
// another.
var keptPatience = 2 * time.Second

// keptAsked are directories that have not answered yet, each with a channel that is closed when it has: at most one
// question to each.
var keptAsked sync.Map

// askKept reads a directory within keptPatience; false: there is no answer.
func askKept(dir string) (files []kept, err error, answered bool) {
	timeout := time.After(keptPatience)
	for {
		mine := make(chan struct{})
		before, asked := keptAsked.LoadOrStore(dir, mine)
		if !asked {
			answered = safefile.Within(keptPatience, func() {
				defer close(mine)
				defer keptAsked.Delete(dir)
				defer safefile.Asking(dir)()
				files, err = readKeptDir(dir)
			})
			if !answered {
				return nil, nil, false // what it finds is not to be looked at
			}
			return files, err, true
		}
		select {
		case <-before.(chan struct{}):
		case <-timeout:
			return nil, nil, false
		}
	}
}

// kept is a file of them.
type kept struct {
	name, file string
	data       []byte
	err        error
}

// eachKept reads the files of a directory that the daemon writes; false: there is no answer.
func (l *loader) eachKept(dir string, take func(name, file string, data []byte)) (answers bool) {
	files, err, answered := askKept(dir)
	switch {
	case !answered:
		l.complain(fmt.Errorf("%s: no answer: does its disk hang? What was changed there for good does not hold; bailiff reload reads it again", filepath.Dir(dir)))
		return false
	case err == nil, errors.Is(err, os.ErrNotExist):
	case errors.Is(err, os.ErrPermission): // somebody else checks the configuration, or the database is not to be had either
		if filepath.Base(dir) == keptDir {
			l.cfg.Warnings = append(l.cfg.Warnings, fmt.Errorf("%w: whether settings were changed for good can't be seen", err))
		}
	default:
		l.complain(fmt.Errorf("%w: what was changed there for good does not hold", err))
	}
	for _, f := range files {
		if f.err != nil {
			l.complain(&Error{f.file, 0, f.err.Error()})
			continue
		}
		take(f.name, f.file, f.data)
	}
	return true
}

func readKeptDir(dir string) (out []kept, err error) {
	files, err := readDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), ".toml")
		if !ok || strings.HasPrefix(name, ".") {
			continue
		}
		k := kept{name: name, file: filepath.Join(dir, f.Name())}
		if len(out) >= keptFiles {
			k.err = fmt.Errorf("there are more than %d files beside it: it is not read", keptFiles)
			return append(out, k), nil
		}
		k.data, err = readKept(k.file)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue // it was taken back this moment
		case err != nil:
			k.err = fmt.Errorf("%w: what was changed there for good does not hold", err)
		}
		out = append(out, k)
	}
	return out, nil
}

// readKept reads a file that the daemon has written: no link, and nothing large.
func readKept(file string) ([]byte, error) {
	fi, err := os.Lstat(file)
	switch {
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	case fi.Size() > keptMost:
		return nil, fmt.Errorf("it is longer than %d bytes", keptMost)
	}
	return safefile.ReadConfig(file)
}

// keptFile puts a file's word on top of what else is said of a jail.
func (l *loader) keptFile(name, file string, data []byte) {
	if l.jails[name] == nil {
		l.complain(&Error{file, 0, fmt.Sprintf("there is no jail %.80q by now: remove the file", name)})
		return
	}
	clean, refused := cleanKept(file, data)
	for _, err := range refused {
		l.complain(err)
	}
	l.jailFile(name, file, clean, nil)
}

// Kept is what a file of jails.d says, by key, as it is written there.
func Kept(data string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(data) {
		if m := keptLine.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil && slices.Contains(KeptKeys, m[1]) {
			if _, twice := out[m[1]]; !twice {
				out[m[1]] = m[2]
			}
		}
	}
	return out
}

// KeptText is a file that says something; head stands before it, as a comment.
func KeptText(head string, values map[string]string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(head, "\n") {
		b.WriteString("# " + line + "\n")
	}
	for _, key := range KeptKeys {
		if v, ok := values[key]; ok {
			b.WriteString(key + " = " + v + "\n")
		}
	}
	return b.String()
}

// KeptValue is a value as it is written in such a file. The error says why it can't be.
func KeptValue(v any) (string, error) {
	text := ""
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		text = strconv.Itoa(v)
	case string:
		text = `"` + v + `"`
	}
	if !keptLine.MatchString("filter = " + text) {
		return "", fmt.Errorf("%.60q: want up to 200 characters, without quotes and backslashes", fmt.Sprint(v))
	}
	return text, nil
}

package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/engine"
	"bailiff/pkg/events"
	"bailiff/pkg/filter"
	"bailiff/pkg/firewall"
	"bailiff/pkg/pyregexp"
	"bailiff/pkg/source"
	"bailiff/pkg/syslog"
)

// Config is everything resolved.
type Config struct {
	Log    Log
	Socket string // path of the control socket
	// ReadSocket is one for ReadGroup, over which can only be asked; empty: none.
	ReadSocket, ReadGroup string
	Database              Database
	Firewall              firewall.Options
	// RemoveForeign has what is in our sets and on no list taken out; else it is adopted.
	RemoveForeign bool
	// Translate has nftables' sets do what the stock actions of iptables do, where iptables
	// is the kind that uses nftables.
	Translate bool
	iptables  map[string]string // why programs of iptables are not that kind
	// Environment is what commands get beside PATH, LANG and TZ: NAME or NAME=VALUE.
	Environment []string
	// Security says what the daemon gives away of what it may do.
	Security Security
	// NoFirewall: there is none to command; who is banned is told by Exports, actions
	// and the socket.
	NoFirewall bool
	Exports    []BanFile
	Check      Check
	Web        Web
	Fleet      Fleet
	// HTTPExports are lists elsewhere that are made equal to who is banned.
	HTTPExports []HTTPExport
	// Reports are services elsewhere that are told of bans.
	Reports  []Report
	Jails    []*Jail            // the enabled ones, by name
	Filters  map[string]*Filter // all that are known
	Errors   []error            // what is wrong outside of jails
	Warnings []error            // what is likely not meant so, outside of jails
	// Settings are those outside of jails, with the places that they come from.
	Settings []Setting
	kept     string // the directory of settings that were changed for good; empty: none
	// Fail2ban is the tree that was read, if it is one of fail2ban's.
	Fail2ban *fail2ban.Tree
	// Needed are the files and directories without which nobody could tell what is
	// configured: while one of them is missing, a daemon that has read them changes nothing.
	Needed []string
	read   []string // files of TOML
	// Docker says what is read from a container engine.
	Docker Docker
	// labels makes jails of containers' labels; nil: they may not enable any.
	labels *labelMaker
	// Syslog are the settings of listeners.
	Syslog syslog.Settings
	// Proxies are the trusted ones, for jails that name none themselves; nil: nobody has
	// named them.
	Proxies *filter.Proxies
	places  map[string]string // of keys of tables, as in "check.group"; see Place
}

// Place says where a key of a table of bailiff.toml's stands, as FILE:LINE, a colon and a blank;
// empty: nowhere.
func (c *Config) Place(table, key string) string { return c.places[table+"."+key] }

// Log says what the daemon tells and where.
type Log struct {
	Level  string // fail2ban's: CRITICAL … DEBUG
	Target string // stderr, stdout, journal, syslog, or a file's path
}

// Docker says what is read from a container engine, docker or podman.
type Docker struct {
	Socket string // path
	// Labels say what containers may ask for by their labels.
	Labels LabelOptions
}

// Security says what the process that reads logs gives away before it reads the first line.
type Security struct {
	// Unconfined: nothing.
	Unconfined bool
	// FixedActions: no commands are run but those of the configuration.
	FixedActions bool
	// User is whom a daemon of root's becomes; empty: bailiff, or nobody, if what it writes
	// is to be written by him.
	User string
}

// Database says where bans and log positions are kept.
type Database struct {
	Path       string        // empty: nowhere
	PurgeAge   time.Duration // how long ended bans are kept
	MaxMatches int           // lines of the log kept with a ban
	Events     int64         // bytes of events that are kept beside it; 0: none
}

// DefaultDatabase is where bans and log positions are kept: under the directory
// that systemd gives (StateDirectory=), else under /var/lib/bailiff.
func DefaultDatabase() string {
	dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":")
	if dir == "" {
		dir = defaultStateDir
	}
	return filepath.Join(dir, databaseName)
}

const (
	defaultStateDir = "/var/lib/bailiff"
	databaseName    = "bailiff.sqlite3"
)

// Jail is one jail, resolved.
type Jail struct {
	Name    string
	Filter  filter.Definition
	Mode    string
	LogPath []string // globs
	LogTail []string // those of them that are read from their end on
	LogFIFO []string // those of them that are named pipes; others are not read
	// List are the files, as globs, of addresses that are shut out from the start; there
	// is no filter and no log then.
	List []string
	// ListURLs are those of them that are fetched.
	ListURLs []ListURL
	Encoding *source.Encoding // nil: UTF-8
	// Journal is what is read in place of files; nil: files are.
	Journal *source.JournalOptions
	// Containers are those whose output is read in place of files; nil: files are.
	Containers *source.ContainerOptions
	// Syslog is what is received in place of files; nil: nothing is.
	Syslog *source.SyslogOptions
	// NoLogs says what fail2ban does where no log is there; see [Jail.LookForLogs].
	NoLogs NoLogs
	// Polling says that changes are looked for, and not waited for.
	Polling  bool
	MaxRetry int
	// Counting is what of failures counts.
	Counting Counting
	FindTime time.Duration
	BanTime  time.Duration // negative: permanent
	Increase *ban.Increase // how ban times grow; nil: they don't
	Networks Networks
	// MaxMatches is how many lines of an address are remembered.
	MaxMatches int
	Rule       firewall.Rule
	// Fail2ban: it is one of fail2ban's, whose rules hold where ours are others.
	Fail2ban bool
	// Unenforced: Rule is nothing's, what bans is among the actions.
	Unenforced bool
	// Observe: nobody is banned; it is told who would be. It has no Actions then, but
	// Observed, which it would have, and is Unenforced.
	Observe  bool
	Observed []action.Definition
	// ByCommands are actions that shut addresses out by commands of their own.
	ByCommands []ByCommand
	// OthersSets are names of sets (addr-set-NAME) that those commands make.
	OthersSets []string
	// Native are the actions of the tree whose work Rule does. Translated: they are of
	// iptables.
	Native     []*action.Definition
	Translated bool
	chains     []string // those of iptables' that it would have
	// Held: the jail reads nothing, and its actions wait, until it is told to begin.
	Held bool
	// Actions are what is run for a ban, beside the kernel's sets.
	Actions []action.Definition
	Ignore  IgnoreList
	// IgnoreCommand says of a failure whether it is ignored, by exit code 0; empty:
	// none. IgnoreCache keeps its answers; nil: for no time.
	IgnoreCommand string
	IgnoreCache   *IgnoreCache
	// Errors are why the jail can't start; Faults are mistakes that cost no more than
	// themselves, such as an entry of ignoreip that is none; Warnings are what it goes
	// without.
	Errors, Faults, Warnings []error
	// Settings are its options with the places that they come from, Parts those of
	// its filter and its actions.
	Settings []Setting
	Parts    []Part
	// Disabled says that it is here only because Options.All asked for it.
	Disabled bool
	// Labelled is the container, NAME/ID, whose labels have made the jail; empty: a file has.
	Labelled string
	// Sources names the files that the jail was read from, in order.
	Sources []string
}

// Check says where proxies ask whether an address is shut out, and what they are told.
type Check struct {
	Listen []string // paths of Unix sockets, from the root, and ADDRESS:PORT of TCP; nil: nowhere
	Group  string   // who may ask at Unix sockets, beside the daemon's user; empty: nobody
	Jails  []string // whose bans count; nil: all
	At     string   // FILE:LINE where jails is configured
	Where  string   // FILE:LINE where listen is, and a colon and a blank; empty: nowhere
	Closed bool     // those about whom nothing can be said are refused; else they are let in
}

// BanFile is a file that holds who is banned, for programs that shut out by
// themselves.
type BanFile struct {
	Name   string
	File   string
	Format string   // ExportNginx, ExportDeny, ExportPlain or ExportHAProxy
	Jails  []string // nil: all
	Reload string   // command of the shell that is run when the file was changed; empty: none
	At     string   // FILE:LINE where it is configured
	// Socket is a HAProxy's, a path or ADDRESS:PORT, that is told of changes at once; empty: none.
	Socket string
}

// Formats of exports.
const (
	ExportNginx   = "nginx"      // lines for nginx's geo: ADDRESS 1;
	ExportDeny    = "nginx-deny" // lines of nginx: deny ADDRESS;
	ExportHAProxy = "haproxy"    // lines of a map of HAProxy: ADDRESS bailiff
	ExportPlain   = "plain"      // one address or network a line
)

// Part is something that a jail is made of, with its own settings.
type Part struct {
	Kind     string    `json:"kind"` // filter or action
	Name     string    `json:"name"`
	Settings []Setting `json:"settings"`
}

// Setting is one option as it was resolved.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	File  string `json:"file,omitempty"` // empty: a default of the program's
	Line  int    `json:"line,omitempty"`
}

// Broken returns why the jail can't start, or nil.
func (j *Jail) Broken() error { return errors.Join(j.Errors...) }

// IgnoreList is ignoreip and ignoreself.
type IgnoreList struct {
	Prefixes []netip.Prefix
	Names    []string // host names, resolved while the daemon runs
	Files    []string // lists of addresses and networks (file:PATH), read while the daemon runs
	Self     bool     // the host's own addresses
	// Host: with Self, what the host needs is ignored, too: link-local addresses,
	// gateways and name servers. fail2ban has no such thing.
	Host bool
	SSH  bool // the peers of SSH sessions
}

// IgnoreCache says how long what ignorecommand answered holds, and for what.
type IgnoreCache struct {
	Key    string // with tags
	Max    int
	MaxAge time.Duration
}

// Filter is a filter definition with its samples.
type Filter struct {
	Name        string
	Description string
	// Origin is where the lines are from that no sample of a real service shows.
	Origin  string
	Source  string // file
	Stock   bool
	Modes   []string // in the order of the file; nil: the filter has none
	Samples []Sample
	// Client says by name of which characters a client's part can be, since the service
	// lets nothing else through.
	Client map[string]*pyregexp.Regexp
	Errors []error

	raw rawFilter
	doc *document
	// unread is the file that it is read from when it is asked for; empty: it was read.
	unread string
}

// Sample is a line that a filter carries with what is expected of it.
type Sample struct {
	// Line may be several lines, of one connection: what the last of them gives counts.
	Line  string
	Match bool
	Host  string
	Time  time.Time // zero: not tested
	Mode  string
	// Injection: the line holds an attempt to have another address taken for the
	// offender's.
	Injection bool
	// From is what wrote the line, as "openssh-server 1:10.0p1-7 (Debian 13)"; empty: it is
	// written by hand.
	From string
	// Client are the parts of the line that a client chooses, by their names.
	Client map[string]string
	// Trusted are the proxies with which it is to be read; nil: none are named.
	Trusted *filter.Proxies
	// Unproved is what is known in place of a proof, and Why the reason: what it is of the
	// service that makes it impossible. Empty: a proof is to be had.
	Unproved filter.Verdict
	Why      string
	// File and LineNo say where it stands.
	File   string
	LineNo int
}

// Options of Load.
type Options struct {
	// Path is bailiff.toml, the directory that holds it, or one that holds a
	// configuration of fail2ban's (jail.conf); empty: DefaultDir if that is there.
	Path string
	// Jails are NAME=LOGPATH of the command line: these jails are enabled, with
	// that log in place of their own.
	Jails []string
	// All resolves jails that are not enabled, too.
	All bool
	// ForJails reads what jails need: of the program's filters that none of them has, there
	// is the name.
	ForJails bool
	// Bare says that those of Jails that no file knows need no filter of their name: whoever
	// loads them has one for them. It matches whatever names a host.
	Bare bool
	// Was is what a daemon runs that reads its configuration anew; nil: none runs. What
	// can't be read is then as it says: a jail of it of which nobody can tell any more
	// whether it is enabled is among Jails, with an error; where nobody can tell what
	// jails there are, Load fails.
	Was *Config
	// State is the directory of what the daemon keeps, where it is not that of the database as configured.
	State string
	// Now are settings that hold until the next reload, by jail, in the form of a file of jails.d.
	Now map[string]string
}

// DefaultDir is where the configuration is looked for.
const DefaultDir = "/etc/bailiff"

// DefaultSocket is where the daemon listens.
const DefaultSocket = "/run/bailiff/bailiff.sock"

// Error is a mistake in a configuration file.
type Error struct {
	File string
	Line int // from 1; 0: unknown
	Msg  string
}

func (e *Error) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
	}
	return e.File + ": " + e.Msg
}

// Problems returns everything that is wrong, jails included.
func (c *Config) Problems() []error {
	out := slices.Clone(c.Errors)
	for _, name := range sortedKeys(c.Filters) {
		out = append(out, c.Filters[name].Errors...)
	}
	for _, j := range c.Jails {
		for _, err := range slices.Concat(j.Errors, j.Faults) {
			out = append(out, fmt.Errorf("jail %s: %w", j.Name, err))
		}
	}
	return out
}

// stockPrefix begins the names of files that the program carries.
const stockPrefix = "(stock)/"

// newConfig is what holds where no file says anything.
func newConfig() *Config {
	return &Config{
		Log: Log{Level: "INFO", Target: "stderr"}, Socket: DefaultSocket, Filters: map[string]*Filter{},
		Database: Database{Path: DefaultDatabase(), PurgeAge: 24 * time.Hour, MaxMatches: 10, Events: events.DefaultBytes},
		Security: Security{FixedActions: true}, Docker: Docker{Socket: engine.DockerSocket},
	}
}

// Load reads a configuration. The error is for what makes all of it unusable (a
// path that is not there, a bailiff.toml that is no TOML); everything else is in
// the Config: what is wrong with one jail costs that jail, and nothing depends on
// more than what the files hold.
func Load(opts Options) (*Config, error) {
	l := &loader{
		all: opts.All, was: opts.Was, bare: opts.Bare,
		cfg:   newConfig(),
		jails: map[string]*jailLayers{},
	}
	l.stockFilters()
	l.stockJails()
	if err := l.user(opts.Path); err != nil {
		return nil, err
	}
	if l.was != nil && len(l.unsure) > 0 {
		return nil, errors.Join(l.unsure...)
	}
	l.keptLayers(opts)
	l.all = l.all && l.cfg.Fail2ban == nil // beside one of fail2ban's, stock jails play no part
	for _, arg := range opts.Jails {
		name, path, ok := strings.Cut(arg, "=")
		if !ok || name == "" || path == "" {
			return nil, fmt.Errorf("--jail %s: want NAME=LOGPATH", arg)
		}
		l.argument(name, path)
	}
	for _, name := range sortedKeys(l.jails) {
		if j := l.resolve(name); j != nil {
			l.cfg.Jails = append(l.cfg.Jails, j)
		}
	}
	l.unknownJails()
	l.keepForLabels()
	if !opts.ForJails {
		for name := range l.cfg.Filters {
			l.cfg.filterNamed(name)
		}
	}
	return l.cfg, nil
}

// FilterDefinition returns a filter in one of its modes; an empty mode is the
// filter's first.
func (c *Config) FilterDefinition(name, mode string) (filter.Definition, error) {
	f := c.filterNamed(name)
	if f == nil {
		if strings.ContainsAny(name, "<>^$(\\ ") {
			return filter.Definition{}, fmt.Errorf("unknown filter %q: an expression goes into failregex; filter is the name of one", name)
		}
		return filter.Definition{}, fmt.Errorf("unknown filter %q%s: bailiff filter list shows those that there are", name, closest(name, sortedKeys(c.Filters)))
	}
	if len(f.Errors) > 0 {
		return filter.Definition{}, errors.Join(f.Errors...)
	}
	return f.definition(mode)
}

// DefinitionOf reads the text of a filter's file, and returns what it is in one of its modes.
func DefinitionOf(name string, data []byte, mode string) (filter.Definition, error) {
	f := ParseFilter(name, name, data)
	if len(f.Errors) > 0 {
		return filter.Definition{}, errors.Join(f.Errors...)
	}
	return f.definition(mode)
}

// closest suggests what may have been meant.
func closest(name string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if d := fail2ban.Letters(name, k, distance); d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

package config

import "slices"

// What the TOML files hold, before it is resolved; of jails, keysjail.go says it.

// rawMain is bailiff.toml without its jails.
type rawMain struct {
	LogLevel    string               `toml:"loglevel"`
	LogTarget   string               `toml:"logtarget"`
	Socket      string               `toml:"socket"`
	Environment stringList           `toml:"environment"`
	Read        rawRead              `toml:"read"`
	Database    rawDatabase          `toml:"database"`
	Firewall    rawFirewall          `toml:"firewall"`
	Export      map[string]rawExport `toml:"export"`
	Report      map[string]rawReport `toml:"report"`
	Check       rawCheck             `toml:"check"`
	Web         rawWeb               `toml:"web"`
	Fleet       rawFleet             `toml:"fleet"`
	Proxy       rawProxy             `toml:"proxy"`
	Security    rawSecurity          `toml:"security"`
	Docker      rawDocker            `toml:"docker"`
	Syslog      rawSyslog            `toml:"syslog"`
	Default     any                  `toml:"default"`
	Jail        any                  `toml:"jail"`
}

// rawExport is a file that holds who is banned, or a list elsewhere.
type rawExport struct {
	Kind   string     `toml:"kind"`
	File   string     `toml:"file"`
	Format string     `toml:"format"`
	Jails  stringList `toml:"jails"`
	Reload string     `toml:"reload"`
	Socket string     `toml:"socket"`

	Provider        string `toml:"provider"`
	Account         string `toml:"account"`
	List            string `toml:"list"`
	TokenFile       string `toml:"token_file"`
	TokenCredential string `toml:"token_credential"`
	URL             string `toml:"url"`
	CAFile          string `toml:"ca_file"`
	Comment         string `toml:"comment"`
	MaxItems        *int   `toml:"max_items"`

	Events stringList `toml:"events"`
	HTTP   bool       `toml:"http"`
}

// rawReport is a service elsewhere that is told of bans.
type rawReport struct {
	Kind            string     `toml:"kind"`
	Jails           stringList `toml:"jails"`
	Every           *text      `toml:"every"`
	Most            *int       `toml:"most"`
	Lines           bool       `toml:"lines"`
	TokenFile       string     `toml:"token_file"`
	TokenCredential string     `toml:"token_credential"`
	URL             string     `toml:"url"`
	CAFile          string     `toml:"ca_file"`
	Categories      stringList `toml:"categories"`
	Server          string     `toml:"server"`
	Service         string     `toml:"service"`
	To              string     `toml:"to"`
	From            string     `toml:"from"`
	Org             string     `toml:"org"`
	SMTP            string     `toml:"smtp"`
	SMTPUser        string     `toml:"smtp_user"`
	Protocol        string     `toml:"protocol"`
}

// givenKey is a key, and whether the file has it.
type givenKey struct {
	key   string
	given bool
}

// ofHTTP are the keys of what goes to servers elsewhere, ofLists those of lists there, ofHooks those
// of webhooks.
func (x *rawExport) ofHTTP() []givenKey {
	return slices.Concat(x.ofLists(), x.ofHooks(), []givenKey{
		{"token_file", x.TokenFile != ""},
		{"token_credential", x.TokenCredential != ""},
		{"url", x.URL != ""},
		{"ca_file", x.CAFile != ""},
	})
}

func (x *rawExport) ofLists() []givenKey {
	return []givenKey{
		{"provider", x.Provider != ""},
		{"account", x.Account != ""},
		{"list", x.List != ""},
		{"comment", x.Comment != ""},
		{"max_items", x.MaxItems != nil},
	}
}

func (x *rawExport) ofHooks() []givenKey {
	return []givenKey{{"events", x.Events != nil}, {"http", x.HTTP}}
}

// rawAction is an action of a jail: what is run for its bans.
type rawAction struct {
	Start      string            `toml:"start"`
	Stop       string            `toml:"stop"`
	Check      string            `toml:"check"`
	Repair     string            `toml:"repair"`
	Ban        string            `toml:"ban"`
	Unban      string            `toml:"unban"`
	Flush      string            `toml:"flush"`
	Timeout    *text             `toml:"timeout"`
	NoRestored bool              `toml:"norestored"`
	Param      map[string]string `toml:"param"`
}

// rawRead is a socket over which can only be asked.
type rawRead struct {
	Socket string `toml:"socket"`
	Group  string `toml:"group"`
}

// rawCheck is where proxies ask whether an address is shut out.
type rawCheck struct {
	Listen stringList `toml:"listen"`
	Group  string     `toml:"group"`
	Jails  stringList `toml:"jails"`
	Fail   string     `toml:"fail"`
}

// rawWeb is the page.
type rawWeb struct {
	Listen     stringList `toml:"listen"`
	Group      string     `toml:"group"`
	Users      string     `toml:"users"`
	Hosts      stringList `toml:"hosts"`
	Cert       string     `toml:"cert"`
	Key        string     `toml:"key"`
	Trust      stringList `toml:"trust"`
	UserHeader string     `toml:"user_header"`
	UserRole   string     `toml:"user_role"`
	MMDB       stringList `toml:"mmdb"`
	Metrics    string     `toml:"metrics"`
}

// rawSecurity is what the daemon gives away of what it may do.
type rawSecurity struct {
	Confine      *bool  `toml:"confine"`
	FixedActions *bool  `toml:"fixed_actions"`
	User         string `toml:"user"`
}

// rawDocker is what is read from a container engine.
type rawDocker struct {
	Socket   string     `toml:"socket"`
	Labels   *bool      `toml:"labels"`
	Port     stringList `toml:"port"`
	MaxRetry *text      `toml:"maxretry"`
	FindTime *text      `toml:"findtime"`
	BanTime  *text      `toml:"bantime"`
}

// rawSyslog is what holds for all listeners of syslog.
type rawSyslog struct {
	Cert        string `toml:"cert"`
	Key         string `toml:"key"`
	CA          string `toml:"ca"`
	Lines       *int   `toml:"lines"`
	Bytes       *int   `toml:"bytes"`
	Connections *int   `toml:"connections"`
	Mode        string `toml:"mode"`
	Group       string `toml:"group"`
}

type rawDatabase struct {
	Path       *string `toml:"path"`
	PurgeAge   *text   `toml:"purgeage"`
	MaxMatches *int    `toml:"maxmatches"`
	Events     *int    `toml:"events"`
}

type rawFirewall struct {
	Enabled  *bool      `toml:"enabled"`
	Table    string     `toml:"table"`
	Chain    string     `toml:"chain"`
	Hook     stringList `toml:"hook"`
	Priority *int       `toml:"priority"`
	Foreign  string     `toml:"foreign"`
	// Translate is for configurations of fail2ban's; jails of ours are nftables' own.
	Translate bool `toml:"translate"`
}

// rawProxy names one's own proxies; nil: nobody does.
type rawProxy struct {
	Trusted *stringList `toml:"trusted"`
}

type rawFilter struct {
	Description string             `toml:"description"`
	Prefix      map[string]string  `toml:"prefix"`
	Prefregex   string             `toml:"prefregex"`
	MaxLines    int                `toml:"maxlines"`
	Attempts    bool               `toml:"attempts"`
	Source      string             `toml:"source"`
	Journal     stringList         `toml:"journalmatch"`
	Failregex   failList           `toml:"failregex"`
	Ignoreregex stringList         `toml:"ignoreregex"`
	Success     stringList         `toml:"success"`
	DatePattern stringList         `toml:"datepattern"`
	Mode        map[string]rawMode `toml:"mode"`
	Sample      []rawSample        `toml:"sample"`
	Client      map[string]string  `toml:"client"`
	JSON        *rawJSON           `toml:"json"`
}

// rawJSON is a filter of a log that holds JSON.
type rawJSON struct {
	Host      stringList       `toml:"host"`
	Hosts     []string         `toml:"hosts"`
	Time      string           `toml:"time"`
	User      string           `toml:"user"`
	Peer      string           `toml:"peer"`
	Forwarded string           `toml:"forwarded"`
	Match     []map[string]any `toml:"match"`
}

// rawMode adds expressions to the filter's own, and to those of other modes.
type rawMode struct {
	With      []string `toml:"with"`
	Failregex failList `toml:"failregex"`
}

type rawSample struct {
	Line  string `toml:"line"`
	Host  string `toml:"host"`
	Time  string `toml:"time"`
	Match *bool  `toml:"match"`
	Mode  string `toml:"mode"`
	// Trusted are the proxies with which it is to be read; nil: none are named.
	Trusted *stringList `toml:"trusted"`
	// Injection says that the line holds an attempt to have another address taken.
	Injection bool `toml:"injection"`
	// From is what wrote the line: a service, its version, where it ran.
	From string `toml:"from"`
	// Client are the parts of the line that a client chooses, by name.
	Client map[string]string `toml:"client"`
	// Forgeable or Evadable says why the service makes it impossible to prove the filter
	// with this line.
	Forgeable string `toml:"forgeable"`
	Evadable  string `toml:"evadable"`
}

package hub

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"bailiff/pkg/config"
	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/allow"
	"bailiff/pkg/fleet/enrol"
	"bailiff/pkg/iplist"
	"bailiff/pkg/safefile"
)

// ConfigFile is the configuration's name in a hub's directory.
const ConfigFile = "hub.toml"

// Config is what hub.toml says.
type Config struct {
	// Name is this hub's among the hubs of its fleet.
	Name string
	// Listen is where hosts connect.
	Listen string
	// URLs are where hosts find the hubs, tls://HOST:PORT: what tokens tell.
	URLs []string
	// Store is how many bytes the stream has on disk at most.
	Store int64
	// MaxBan is how long a ban lasts in the fleet at most.
	MaxBan time.Duration
	// Permanent: bans that do not end are kept so; else they last MaxBan.
	Permanent bool
	// HostLimits are those of each host, but for those that Hosts names.
	HostLimits
	Hosts map[string]HostLimits
	// Entries is how many all hosts have together.
	Entries int64
	// Count says in which groups failures are counted over all hosts, and when they are a ban.
	Count map[string]fleet.CountRule
	// Groups are those that hosts may publish to; none: any.
	Groups []string
	// Allow is never banned in the fleet.
	Allow []netip.Prefix
	// AllowKey is the public key by which the fleet's allow-list is signed; empty: there is none.
	AllowKey string
	// Widest4 and Widest6 are the shortest prefixes that may be banned.
	Widest4, Widest6 int
	// LogLevel and LogTarget are as in bailiff.toml.
	LogLevel, LogTarget string
	// ClusterListen is where other hubs connect; empty: there are none.
	ClusterListen string
	// Routes are where they are, tls://HOST:PORT.
	Routes []string
	// Replicas is how many hubs hold the stream.
	Replicas int
	// RegionsListen is where servers of regions connect; empty: there are none. RegionsURLs are where they find this hub.
	RegionsListen string
	RegionsURLs   []string
	// RegionsRefused are those that are not let in any more, regionKeysRefused their keys.
	RegionsRefused    []string
	regionKeysRefused []string
	// Parent is the hub above, if this is a region's, by its domain: hub, or a region's name. ParentURLs are where it listens for
	// regions.
	Parent     string
	ParentURLs []string
	// ExternalServers are where NATS' servers are that the operator runs himself, tls://HOST:PORT; none: the hub is one.
	ExternalServers []string
	// ExternalSystem is the file, in the hub's directory, of a user of their own account.
	ExternalSystem string
}

// External reports whether NATS' server is somebody else's.
func (c Config) External() bool { return len(c.ExternalServers) > 0 }

// Region reports whether this is a region's hub.
func (c Config) Region() bool { return len(c.ParentURLs) > 0 }

// domain is the name of the server's stream among those of regions.
func (c Config) domain() string {
	if c.Region() {
		return c.Name
	}
	return rootDomain
}

// alone reports whether this hub is the only one that the stream has.
func (c Config) alone() bool { return len(c.Routes) == 0 && !c.External() }

// HostLimits are what a host may.
type HostLimits struct {
	// Rate is how many entries a second it may send over a while, Burst how many at once.
	Rate  float64
	Burst int
	// Quota is how many entries it has in the fleet at most.
	Quota int
}

// hostsSetMost is how many hosts have limits of their own at most.
const hostsSetMost = 10_000

// fileConfig is hub.toml's form.
type fileConfig struct {
	Name      string      `toml:"name"`
	Listen    string      `toml:"listen"`
	URLs      []string    `toml:"urls"`
	Store     string      `toml:"store"`
	MaxBan    string      `toml:"max_ban"`
	Permanent bool        `toml:"permanent"`
	Rate      float64     `toml:"rate"`
	Burst     int         `toml:"burst"`
	Quota     int         `toml:"quota"`
	Entries   int64       `toml:"entries"`
	Groups    []string    `toml:"groups"`
	Allow     []string    `toml:"allow"`
	AllowKey  string      `toml:"allow_key"`
	Widest4   int         `toml:"widest_ipv4"`
	Widest6   int         `toml:"widest_ipv6"`
	Hosts     fileHosts   `toml:"hosts"`
	Count     fileCounts  `toml:"count"`
	Log       fileLog     `toml:"log"`
	Cluster   fileCluster `toml:"cluster"`
	// External is of a hub without a server of its own.
	External fileExternal `toml:"external"`
	// Regions is of hubs below this one, Region of the one above.
	Regions fileRegions `toml:"regions"`
	Region  fileRegion  `toml:"region"`
}

// fileHosts are hosts' own limits: what one doesn't say is as for all.
type fileHosts map[string]struct {
	Rate  *float64 `toml:"rate"`
	Burst *int     `toml:"burst"`
	Quota *int     `toml:"quota"`
}

// fileCounts are the groups in which failures are counted over all hosts.
type fileCounts map[string]struct {
	MaxRetry *int    `toml:"maxretry"`
	FindTime *string `toml:"findtime"`
	BanTime  *string `toml:"bantime"`
	Hosts    *int    `toml:"hosts"`
	Share    *int    `toml:"share"`
}

// countsMost is how many groups have one.
const countsMost = 1000

// counts are those of a file, or which setting is wrong.
func (f fileCounts) counts() (out map[string]fleet.CountRule, key string, err error) {
	if len(f) > countsMost {
		return nil, "count", fmt.Errorf("%d groups: want %d at most", len(f), countsMost)
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		x, before := f[name], "count."+name
		if err := fleet.CheckName(name); err != nil {
			return nil, before, err
		}
		five, two := 5, 2
		r := fleet.CountRule{Retry: *cmp.Or(x.MaxRetry, &five), Find: 10 * time.Minute, Ban: time.Hour, Hosts: *cmp.Or(x.Hosts, &two)}
		for _, d := range []struct {
			key         string
			given       *string
			least, most time.Duration
			to          *time.Duration
		}{{"findtime", x.FindTime, time.Second, fleet.FindMost, &r.Find}, {"bantime", x.BanTime, time.Minute, 366 * 24 * time.Hour, &r.Ban}} {
			if d.given == nil {
				continue
			}
			if *d.to, err = config.ParseTime(*d.given); err != nil || *d.to < d.least || *d.to > d.most {
				return nil, before + "." + d.key, fmt.Errorf("%q: want a time of %v to %v", *d.given, d.least, d.most)
			}
		}
		// Half of what bans: so two hosts are enough, and what one makes up never is.
		half := min((r.Retry+1)/2, fleet.AgesMost)
		r.Share = *cmp.Or(x.Share, &half)
		for _, n := range []bound{
			{before + ".maxretry", float64(r.Retry), 1, 1000}, {before + ".hosts", float64(r.Hosts), 1, 1000}, {before + ".share", float64(r.Share), 1, fleet.AgesMost},
		} {
			if !(n.is >= n.from && n.is <= n.to) {
				return nil, n.key, fmt.Errorf("%v: want %v to %v", n.is, n.from, n.to)
			}
		}
		if out == nil {
			out = map[string]fleet.CountRule{}
		}
		out[name] = r
	}
	return out, "", nil
}

type fileLog struct {
	Level  string `toml:"level"`
	Target string `toml:"target"`
}

type fileCluster struct {
	Listen   string   `toml:"listen"`
	Routes   []string `toml:"routes"`
	Replicas int      `toml:"replicas"`
}

type fileRegions struct {
	Listen string   `toml:"listen"`
	URLs   []string `toml:"urls"`
	Refuse []string `toml:"refuse"`
}

type fileRegion struct {
	Parent string   `toml:"parent"`
	URLs   []string `toml:"urls"`
}

type fileExternal struct {
	Servers  []string `toml:"servers"`
	Replicas int      `toml:"replicas"`
	System   string   `toml:"system_credentials"`
}

// defaults are what hub.toml need not say.
func defaults() fileConfig {
	return fileConfig{
		Name: "hub-1", Store: "1GB", MaxBan: "7d", Rate: 50, Burst: 1000, Quota: 20_000, Entries: 1_000_000,
		Widest4: 16, Widest6: 32, Log: fileLog{Level: "INFO", Target: "stderr"},
	}
}

// ReadConfig reads hub.toml of a hub's directory. An error names file, line where it is known, and what is
// wanted.
func ReadConfig(dir string) (Config, error) {
	file := filepath.Join(dir, ConfigFile)
	data, err := safefile.ReadFile(file, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, &noHubError{file}
	}
	if err != nil {
		return Config{}, err
	}
	return parseConfig(file, data)
}

// noHubError is of a directory that is none of a hub.
type noHubError struct{ file string }

func (e *noHubError) Error() string {
	return fmt.Sprintf("%s is not there: that is no hub's directory; `bailiff hub init` makes one", e.file)
}

func (e *noHubError) Unwrap() error { return fs.ErrNotExist }

func parseConfig(file string, data []byte) (Config, error) {
	f := defaults()
	meta, err := toml.Decode(string(data), &f)
	if err != nil {
		var at toml.ParseError
		if errors.As(err, &at) {
			return Config{}, fmt.Errorf("%s:%d: %s", file, at.Position.Line, at.Message)
		}
		// A value of another kind is told as "toml: line N (last key …): …".
		var line int
		if _, bad := fmt.Sscanf(err.Error(), "toml: line %d", &line); bad == nil {
			_, what, _ := strings.Cut(err.Error(), ": ")
			return Config{}, fmt.Errorf("%s:%d: %s", file, line, what)
		}
		return Config{}, fmt.Errorf("%s: %w", file, err)
	}
	where := func(key string) string {
		table := ""
		for i, line := range bytes.Split(data, []byte("\n")) {
			name, _, ok := bytes.Cut(line, []byte("="))
			text := string(bytes.TrimSpace(name))
			if !ok && strings.HasPrefix(text, "[") {
				table = strings.ReplaceAll(strings.Trim(text, "[] "), `"`, "") + "."
				text = ""
			}
			if at := table + text; at == key || text == "" && at == key+"." {
				return fmt.Sprintf("%s:%d: %s", file, i+1, key)
			}
		}
		return fmt.Sprintf("%s: %s", file, key)
	}
	for _, k := range meta.Undecoded() {
		return Config{}, fmt.Errorf("%s: no such setting", where(k.String()))
	}
	c, key, err := f.config()
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", where(key), err)
	}
	return c, nil
}

// config is the configuration of what the file says, or which setting is wrong.
func (f fileConfig) config() (c Config, key string, err error) {
	c = Config{
		Name: f.Name, Listen: f.Listen, URLs: f.URLs, Permanent: f.Permanent, HostLimits: HostLimits{f.Rate, f.Burst, f.Quota}, Entries: f.Entries, Groups: f.Groups, AllowKey: f.AllowKey,
		Widest4: f.Widest4, Widest6: f.Widest6, LogTarget: f.Log.Target, ClusterListen: f.Cluster.Listen, Routes: f.Cluster.Routes, Replicas: max(f.Cluster.Replicas, 1),
	}
	if err := fleet.CheckName(f.Name); err != nil {
		return c, "name", err
	}
	external := len(f.External.Servers) > 0
	if err := checkListen(f.Listen); err != nil && !external {
		return c, "listen", err
	}
	if external && f.Listen != "" {
		return c, "listen", errors.New("with [external], its servers listen, and not the hub: want one of the two")
	}
	if len(f.URLs) == 0 {
		return c, "urls", errors.New("want where hosts find this hub: [\"tls://HOST:PORT\"]")
	}
	for _, u := range f.URLs {
		if err := enrol.CheckURL(u); err != nil {
			return c, "urls", err
		}
	}
	if c.Store, err = parseBytes(f.Store); err != nil {
		return c, "store", err
	}
	if c.MaxBan, err = config.ParseTime(f.MaxBan); err != nil || c.MaxBan < time.Minute || c.MaxBan > 366*24*time.Hour {
		return c, "max_ban", fmt.Errorf("%q: want a time of a minute to a year, as 7d", f.MaxBan)
	}
	bounds := append(c.bounds(""), []bound{
		{"entries", float64(f.Entries), 100, 10_000_000},
		{"widest_ipv4", float64(f.Widest4), 8, 32},
		{"widest_ipv6", float64(f.Widest6), 16, 128},
		{"cluster.replicas", float64(c.Replicas), 1, 5},
	}...)
	if len(f.Hosts) > hostsSetMost {
		return c, "hosts", fmt.Errorf("%d hosts have limits of their own: want %d at most", len(f.Hosts), hostsSetMost)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Hosts)) {
		if err := fleet.CheckHost(name); err != nil {
			return c, "hosts." + name, err
		}
		one, own := c.HostLimits, f.Hosts[name]
		one.Rate, one.Burst, one.Quota = *cmp.Or(own.Rate, &one.Rate), *cmp.Or(own.Burst, &one.Burst), *cmp.Or(own.Quota, &one.Quota)
		if c.Hosts == nil {
			c.Hosts = map[string]HostLimits{}
		}
		c.Hosts[name] = one
		bounds = append(bounds, one.bounds("hosts."+name+".")...)
	}
	for _, n := range bounds {
		if !(n.is >= n.from && n.is <= n.to) {
			return c, n.key, fmt.Errorf("%v: want %v to %v", n.is, n.from, n.to)
		}
	}
	for _, g := range f.Groups {
		if err := fleet.CheckName(g); err != nil {
			return c, "groups", err
		}
	}
	if f.AllowKey != "" {
		if err := allow.CheckKey(f.AllowKey); err != nil {
			return c, "allow_key", err
		}
	}
	if c.Count, key, err = f.Count.counts(); err != nil {
		return c, key, err
	}
	for _, a := range f.Allow {
		p, err := iplist.Parse(a)
		if err != nil {
			return c, "allow", err
		}
		c.Allow = append(c.Allow, p)
	}
	if c.LogLevel, err = config.ParseLogLevel(f.Log.Level); err != nil {
		return c, "log.level", err
	}
	if c.LogTarget, err = config.ParseLogTarget(cmp.Or(f.Log.Target, "stderr")); err != nil {
		return c, "log.target", err
	}
	if key, err := f.External.into(&c); err != nil {
		return c, "external." + key, err
	}
	if external && (f.Cluster.Listen != "" || len(f.Cluster.Routes) > 0 || f.Cluster.Replicas > 0) {
		return c, "cluster.listen", errors.New("with [external], its replicas says how many servers there are: want one of the two")
	}
	if key, err := f.regions(&c); err != nil {
		return c, key, err
	}
	if external {
		return c, "", nil
	}
	if f.Cluster.Listen == "" {
		if len(f.Cluster.Routes) > 0 || c.Replicas > 1 {
			return c, "cluster.listen", errors.New("want where the other hubs connect, as there are others")
		}
		return c, "", nil
	}
	if err := checkListen(f.Cluster.Listen); err != nil {
		return c, "cluster.listen", err
	}
	for _, u := range f.Cluster.Routes {
		if err := enrol.CheckURL(u); err != nil {
			return c, "cluster.routes", err
		}
	}
	if len(f.Cluster.Routes) == 0 || c.Replicas > len(f.Cluster.Routes)+1 {
		return c, "cluster.routes", fmt.Errorf("want where the other hubs are: there are %d, and %d are to hold the stream", len(f.Cluster.Routes)+1, c.Replicas)
	}
	return c, "", nil
}

// regions reads what is said of hubs below and above. It returns which setting is wrong.
func (f fileConfig) regions(c *Config) (key string, err error) {
	c.RegionsListen, c.RegionsURLs, c.RegionsRefused, c.Parent, c.ParentURLs = f.Regions.Listen, f.Regions.URLs, f.Regions.Refuse, f.Region.Parent, f.Region.URLs
	below, above := f.Regions.Listen != "" || len(f.Regions.URLs) > 0, f.Region.Parent != "" || len(f.Region.URLs) > 0
	switch {
	case (below || above) && c.External():
		return "external.servers", errors.New("regions are of hubs with a server of their own; on servers of yours, leaf nodes are yours to configure")
	case below && checkListen(f.Regions.Listen) != nil:
		return "regions.listen", checkListen(f.Regions.Listen)
	case below && len(f.Regions.URLs) == 0:
		return "regions.urls", errors.New("want where hubs of regions find this one: [\"tls://HOST:PORT\"]")
	case above && (fleet.CheckName(f.Region.Parent) != nil || f.Region.Parent == f.Name):
		return "region.parent", fmt.Errorf("%q: want hub, or the name of the region above", f.Region.Parent)
	case above && len(f.Region.URLs) == 0:
		return "region.urls", errors.New("want where the hub above listens for regions: [\"tls://HOST:PORT\"]")
	case above && (f.Cluster.Listen != "" || len(f.Cluster.Routes) > 0):
		return "cluster.listen", errors.New("a region has one hub: what it holds is a copy")
	}
	for _, u := range f.Regions.URLs {
		if err := enrol.CheckURL(u); err != nil {
			return "regions.urls", err
		}
	}
	for _, u := range f.Region.URLs {
		if err := enrol.CheckURL(u); err != nil {
			return "region.urls", err
		}
	}
	return "", nil
}

// into reads where NATS' own servers are. It returns which setting is wrong.
func (f fileExternal) into(c *Config) (key string, err error) {
	for _, u := range f.Servers {
		if err := enrol.CheckURL(u); err != nil {
			return "servers", err
		}
	}
	if len(f.Servers) == 0 {
		if f.Replicas != 0 || f.System != "" {
			return "servers", errors.New("want where the NATS servers are: [\"tls://HOST:PORT\"]")
		}
		return "", nil
	}
	c.ExternalServers, c.ExternalSystem, c.Replicas = f.Servers, cmp.Or(f.System, systemFile), max(f.Replicas, 1)
	if c.Replicas > 5 {
		return "replicas", fmt.Errorf("%d: want 1 to 5", c.Replicas)
	}
	if c.ExternalSystem != filepath.Base(c.ExternalSystem) {
		return "system_credentials", fmt.Errorf("%q: want a file's name, in the hub's directory", c.ExternalSystem)
	}
	return "", nil
}

// bound is what a number has to be.
type bound struct {
	key          string
	is, from, to float64
}

func (h HostLimits) bounds(before string) []bound {
	return []bound{
		{before + "rate", h.Rate, 0.1, 100_000},
		{before + "burst", float64(h.Burst), 1, 1_000_000},
		{before + "quota", float64(h.Quota), 1, 1_000_000},
	}
}

func checkListen(s string) error {
	host, port, err := net.SplitHostPort(s)
	if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%q: want ADDRESS:PORT, as 0.0.0.0:4222", s)
	}
	if host != "" {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("%q: want an address of this host before the port", s)
		}
	}
	return nil
}

// parseBytes reads a number of bytes: 800MB, 1GB.
func parseBytes(s string) (int64, error) {
	for _, u := range []struct {
		unit string
		n    int64
	}{{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}} {
		if digits, ok := strings.CutSuffix(s, u.unit); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 32)
			if err == nil && n > 0 && n*u.n >= 10e6 && n*u.n <= 100e12 {
				return n * u.n, nil
			}
		}
	}
	return 0, fmt.Errorf("%q: want a size of 10MB or more, as 1GB", s)
}

// protected are the addresses that no host may have banned: this hub's own, those of the hubs beside it,
// and those that are nobody's.
func (c Config) protected() []netip.Prefix {
	own := []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
		netip.MustParsePrefix("::/127"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
	}
	add := func(text string) {
		if a, err := netip.ParseAddr(text); err == nil && !a.IsUnspecified() {
			a = a.Unmap().WithZone("")
			own = append(own, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	for _, s := range slices.Concat(c.URLs, c.Routes, c.ExternalServers, c.RegionsURLs) {
		if u, err := url.Parse(s); err == nil {
			add(u.Hostname())
		}
	}
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				add(n.IP.String())
			}
		}
	}
	return own
}

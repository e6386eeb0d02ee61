package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
	"bailiff/pkg/safefile"
)

// More files of a hub's directory.
const (
	hubUserFile = "hub.creds"
	storeDir    = "stream"
	stateFile   = "state.json"
	agentsFile  = "agents.jwt"
)

// Ports that hubs have unless they are told others.
const (
	DefaultPort        = 4222
	DefaultClusterPort = 6222
)

// DefaultDir is where a hub is unless it is told otherwise.
const DefaultDir = "/var/lib/bailiff-hub"

// InitOptions are what Init is told.
type InitOptions struct {
	// Names are the host names and addresses by which hosts reach the hub; none: this host's own name.
	Names []string
	// Port is where it listens; 0: DefaultPort.
	Port int
	// Address is what it listens on; empty: all.
	Address string
	// External: the server is the operator's own, or a cluster of them; what is made is what those need, and the gatekeeper's
	// directory. Replicas is how many of them hold the stream.
	External bool
	Replicas int
	// Cluster has Init make a fleet of several hubs, by their names, each in a directory of its own below.
	Cluster []Member
}

// Member is one hub of several.
type Member struct {
	Name string
	// Host is a name or an address by which hosts and other hubs reach it.
	Host string
	// Port and ClusterPort are where it listens for them; 0: DefaultPort, DefaultClusterPort.
	Port, ClusterPort int
}

// ParseMember reads NAME=HOST[:PORT[:CLUSTERPORT]]; an address of IPv6 stands in brackets.
func ParseMember(s string) (Member, error) {
	bad := fmt.Errorf("%q: want NAME=HOST, NAME=HOST:PORT or NAME=HOST:PORT:CLUSTERPORT", s)
	name, rest, ok := strings.Cut(s, "=")
	m := Member{Name: name}
	if !ok || fleet.CheckName(name) != nil {
		return m, bad
	}
	m.Host, rest, _ = strings.Cut(rest, ":")
	if strings.HasPrefix(m.Host, "[") {
		host, after, ok := strings.Cut(strings.TrimPrefix(s[len(name)+1:], "["), "]")
		if !ok {
			return m, bad
		}
		m.Host, rest = host, strings.TrimPrefix(after, ":")
	}
	for i, text := range strings.Split(rest, ":") {
		if rest == "" {
			break
		}
		n, err := strconv.ParseUint(text, 10, 16)
		switch {
		case err != nil || n == 0 || i > 1:
			return m, bad
		case i == 0:
			m.Port = int(n)
		default:
			m.ClusterPort = int(n)
		}
	}
	if checkSAN(m.Host) != nil {
		return m, bad
	}
	return m, nil
}

// checkSAN says what is wrong with a name or an address that a certificate is to vouch for.
func checkSAN(s string) error {
	if net.ParseIP(s) != nil {
		return nil
	}
	ok := s != "" && len(s) < 254 && !strings.HasPrefix(s, ".") && !strings.HasSuffix(s, ".") && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789.-") == ""
	if !ok {
		return fmt.Errorf("%q: want a host's name or an address", s)
	}
	return nil
}

// Init makes a hub, or several that are one fleet: keys, accounts, certificates, configuration. It never
// writes over anything. It returns the directories that it made.
func Init(dir string, o InitOptions) ([]string, error) {
	if len(o.Cluster) == 1 || len(o.Cluster) == 2 {
		return nil, errors.New("two hubs are worse than one: without one of them nothing is stored; want 3 or 5")
	}
	if len(o.Cluster) > 5 {
		return nil, fmt.Errorf("%d hubs: want 3 or 5", len(o.Cluster))
	}
	if o.External && len(o.Cluster) > 0 {
		return nil, errors.New("a cluster of hubs, and servers of your own: want one of the two")
	}
	if o.Replicas > 0 && !o.External {
		return nil, errors.New("how many servers hold the stream is said of servers of your own; hubs that are a cluster all do")
	}
	k, err := newKeys()
	if err != nil {
		return nil, err
	}
	authority, err := newAuthority(time.Now())
	if err != nil {
		return nil, err
	}
	if len(o.Cluster) == 0 {
		if len(o.Names) == 0 {
			host, err := os.Hostname()
			if err != nil {
				return nil, err
			}
			o.Names = []string{host}
		}
		f := defaults()
		f.Name, f.Listen = "hub-1", listen(o.Address, o.Port, DefaultPort)
		for _, n := range o.Names {
			if err := checkSAN(n); err != nil {
				return nil, err
			}
			f.URLs = append(f.URLs, place(n, o.Port, DefaultPort))
		}
		if o.External {
			f.Name, f.Listen, f.External = "gate-1", "", fileExternal{Servers: f.URLs, Replicas: max(o.Replicas, 1)}
		}
		return []string{dir}, fill(dir, f, k, authority, o.Names)
	}
	var made []string
	var urls []string
	for i, m := range o.Cluster {
		if slices.ContainsFunc(o.Cluster[:i], func(n Member) bool { return n.Name == m.Name }) {
			return nil, fmt.Errorf("two hubs are named %s", m.Name)
		}
		urls = append(urls, place(m.Host, m.Port, DefaultPort))
	}
	if err := make700(dir); err != nil {
		return nil, err
	}
	for _, m := range o.Cluster {
		f := defaults()
		f.Name, f.Listen = m.Name, listen(o.Address, m.Port, DefaultPort)
		f.URLs = urls
		f.Cluster = fileCluster{Listen: listen(o.Address, m.ClusterPort, DefaultClusterPort), Replicas: len(o.Cluster)}
		for _, other := range o.Cluster {
			if other.Name != m.Name {
				f.Cluster.Routes = append(f.Cluster.Routes, place(other.Host, other.ClusterPort, DefaultClusterPort))
			}
		}
		own := filepath.Join(dir, m.Name)
		if err := fill(own, f, k, authority, append([]string{m.Host}, o.Names...)); err != nil {
			return made, err
		}
		made = append(made, own)
	}
	return made, nil
}

func listen(address string, port, otherwise int) string {
	if address == "" {
		address = "0.0.0.0"
	}
	if port == 0 {
		port = otherwise
	}
	return net.JoinHostPort(address, strconv.Itoa(port))
}

func place(host string, port, otherwise int) string {
	if port == 0 {
		port = otherwise
	}
	return "tls://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// make700 makes a directory, or takes an empty one of ours.
func make700(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o700)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty (%s is in it): a hub is made in a directory of its own, and nothing is written over", dir, entries[0].Name())
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	return checkOwner(dir, os.Geteuid())
}

// fill writes one hub's files.
func fill(dir string, f fileConfig, k keys, authority pair, names []string) error {
	for _, n := range names {
		if err := checkSAN(n); err != nil {
			return err
		}
	}
	cfg, key, err := f.config()
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	own, err := newServer(authority, f.Name, names, time.Now())
	if err != nil {
		return err
	}
	user, err := signHubUser(k)
	if err != nil {
		return err
	}
	seed, err := k[hubUserKey].Seed()
	if err != nil {
		return err
	}
	files := map[string][]byte{ConfigFile: configText(f), hubUserFile: enrol.Credentials(user, string(seed))}
	for name, pair := range k {
		seed, err := pair.Seed()
		if err != nil {
			return err
		}
		files[name+".nk"] = append(seed, '\n')
	}
	for _, p := range []struct {
		pair
		cert, key string
	}{{own, serverFile, serverKeyFile}, {authority, authorityFile, authorityKeyFile}} {
		if files[p.cert], files[p.key], err = p.files(); err != nil {
			return err
		}
	}
	if cfg.External() {
		c, err := newClaims(k, cfg, nil)
		if err != nil {
			return err
		}
		files[NATSFile] = natsText(c, k, cfg)
		// NATS' server sends what is in the file, and hosts that join know the fleet by its authority.
		files[serverFile] = append(files[serverFile], files[authorityFile]...)
		if files[systemFile], err = systemUser(k); err != nil {
			return err
		}
	}
	if err := make700(dir); err != nil {
		return err
	}
	for name, data := range files {
		if err := create(filepath.Join(dir, name), data); err != nil {
			return err
		}
	}
	return nil
}

// create writes a file that is not there yet.
func create(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// replace puts a file in the place of one.
func replace(path string, data []byte) error {
	return safefile.Replace(path, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// regionsText is how hubs of regions are let in.
const regionsText = `
# [regions]               # hubs of regions: bailiff hub init --region
# listen = "0.0.0.0:7422"
# urls = ["tls://hub.example:7422"] # where they find this one
# refuse = []             # regions that are not let in any more
`

// configText is hub.toml as it is begun, with what may be changed.
func configText(f fileConfig) []byte {
	list := func(words []string) string {
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = strconv.Quote(w)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	listens := ""
	if f.Listen != "" {
		listens = fmt.Sprintf("listen = %q\n", f.Listen)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# A hub of a fleet: bailiff hub run. What stands behind # is what holds without it.
name = %q
%s# Where hosts find the hubs: what tokens tell them.
urls = %s

# Never banned anywhere in the fleet, besides this hub's own addresses.
allow = []
# allow_key = "O…"        # signs the allow-list that hosts take, too: bailiff fleet allow key
# groups = ["ssh"]        # what hosts may publish to; none: any
# max_ban = %q          # longer bans are cut to that
# permanent = false       # bans without an end stay so; else they last max_ban
# widest_ipv4 = %d        # no larger networks
# widest_ipv6 = %d

# Of each host: so many entries a second, so many at once, so many live.
# rate = %v
# burst = %d
# quota = %d
# entries = %d       # of all hosts
# store = %q           # on disk at most
# [count.ssh]             # failures in that group, counted over all hosts that say so ([fleet] count)
#   maxretry = 5          # so many within findtime ban
#   findtime = "10m"
#   bantime = "1h"
#   hosts = 2             # seen by so many hosts at least
#   share = 3             # so many count of one host; half of maxretry
# [hosts.web-1]           # one host's own, at the end of this file
#   quota = 100000

# [log]
# level = %q
# target = %q       # stderr, stdout, journal, syslog, or a file
`, f.Name, listens, list(f.URLs), f.MaxBan, f.Widest4, f.Widest6, f.Rate, f.Burst, f.Quota, f.Entries, f.Store, f.Log.Level, f.Log.Target)
	if f.Cluster.Listen != "" {
		fmt.Fprintf(&b, "\n[cluster]\nlisten = %q\nroutes = %s\nreplicas = %d\n", f.Cluster.Listen, list(f.Cluster.Routes), f.Cluster.Replicas)
	}
	switch {
	case len(f.Region.URLs) > 0:
		fmt.Fprintf(&b, "\n# The hub above, by its domain, and where it listens for regions.\n[region]\nparent = %q\nurls = %s\n", f.Region.Parent, list(f.Region.URLs))
	case len(f.External.Servers) == 0 && len(f.URLs) > 0:
		b.WriteString(regionsText)
	}
	if len(f.External.Servers) > 0 {
		fmt.Fprintf(&b, `
# The NATS servers that hold the stream: their configuration needs what is in %s.
[external]
servers = %s
replicas = %d
# system_credentials = %q  # who may tell the servers of hosts that were taken out
`, NATSFile, list(f.External.Servers), f.External.Replicas, systemFile)
	}
	return []byte(b.String())
}

// checkOurs says what is wrong with who owns a hub's directory, and who may look into it.
func checkOurs(dir string) error {
	return checkDir(dir, os.Geteuid())
}

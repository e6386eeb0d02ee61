package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
	"bailiff/pkg/safefile"
)

// Files of regions: leafFile is in a region's directory, regionsFile in the root's.
const (
	leafFile    = "leaf.creds"
	streamFile  = "fleet.jwt"
	regionsFile = "regions.json"
	// regionsMost is how many regions there have been at the most.
	regionsMost = 1000
	// rootDomain is the name of the root's stream among those of regions.
	rootDomain = "hub"
)

// RegionOptions are what InitRegion is told.
type RegionOptions struct {
	// Name is the region's, Root the root's directory.
	Name, Root string
	// Under is the region below which it is, and UnderURLs where that listens for regions; none: the root.
	Under     string
	UnderURLs []string
	// Names, Port and Address are as for Init.
	Names   []string
	Port    int
	Address string
}

// region is what the root keeps of one: the keys by which it connects.
type region struct {
	Keys  []string  `json:"keys"`
	Since time.Time `json:"since"`
}

func readRegions(dir string) (map[string]region, error) {
	out := map[string]region{}
	data, err := safefile.ReadFile(filepath.Join(dir, regionsFile), 4<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, regionsFile), err)
	}
	return out, nil
}

// InitRegion makes the directory of a region's hub, by the keys of its root's: it holds none of those.
func InitRegion(dir string, o RegionOptions) error {
	if err := checkOurs(o.Root); err != nil {
		return err
	}
	root, err := ReadConfig(o.Root)
	if err != nil {
		return err
	}
	if root.External() || root.Region() {
		return fmt.Errorf("%s: want the directory of a hub that has the fleet's keys and a server of its own", o.Root)
	}
	if err := fleet.CheckName(o.Name); err != nil {
		return err
	}
	if o.Name == rootDomain || o.Name == root.Name {
		return fmt.Errorf("%s is the root's own name: choose another one for the region", o.Name)
	}
	parent, urls := rootDomain, root.RegionsURLs
	if o.Under != "" {
		parent, urls = o.Under, o.UnderURLs
	}
	if len(urls) == 0 {
		return fmt.Errorf("%s: [regions] does not say where the root listens for regions: want listen and urls there, and a restart of the hub", filepath.Join(o.Root, ConfigFile))
	}
	k, err := readKeys(o.Root)
	if err != nil {
		return err
	}
	authority, err := readPair(o.Root, authorityFile, authorityKeyFile)
	if err != nil {
		return err
	}
	regions, err := readRegions(o.Root)
	if err != nil {
		return err
	}
	if _, ok := regions[o.Name]; ok || len(regions) >= regionsMost {
		return fmt.Errorf("%s: region %s is there, or was, or there have been %d: choose another name", filepath.Join(o.Root, regionsFile), o.Name, regionsMost)
	}
	if len(o.Names) == 0 {
		host, err := os.Hostname()
		if err != nil {
			return err
		}
		o.Names = []string{host}
	}
	f := defaults()
	f.Name, f.Listen = o.Name, listen(o.Address, o.Port, DefaultPort)
	for _, n := range o.Names {
		if err := checkSAN(n); err != nil {
			return err
		}
		f.URLs = append(f.URLs, place(n, o.Port, DefaultPort))
	}
	f.Region = fileRegion{Parent: parent, URLs: urls}
	if _, key, err := f.config(); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	c, err := newClaims(k, root, nil)
	if err != nil {
		return err
	}
	// The claims of hosts are those that the root has now: who was taken out is out from the first moment.
	if data, err := safefile.ReadFile(filepath.Join(o.Root, agentsFile), 64<<20); err == nil {
		c.agents = strings.TrimSpace(string(data))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	own, err := newServer(authority, o.Name, o.Names, time.Now())
	if err != nil {
		return err
	}
	files := map[string][]byte{
		ConfigFile: configText(f), "operator.jwt": []byte(c.operator + "\n"), "system.jwt": []byte(c.system + "\n"), streamFile: []byte(c.fleet + "\n"), agentsFile: []byte(c.agents + "\n"),
	}
	if files[serverFile], files[serverKeyFile], err = own.files(); err != nil {
		return err
	}
	if files[authorityFile], _, err = authority.files(); err != nil {
		return err
	}
	entry := region{Since: time.Now().UTC().Truncate(time.Second)}
	for _, u := range []struct {
		file string
		may  func(*jwt.UserClaims)
	}{{leafFile, func(u *jwt.UserClaims) { leafMay(u, o.Name, parent) }}, {hubUserFile, func(u *jwt.UserClaims) { regionMay(u, o.Name, parent) }}} {
		var key string
		if files[u.file], key, err = regionUser(k, o.Name, u.may); err != nil {
			return err
		}
		entry.Keys = append(entry.Keys, key)
	}
	if err := make700(dir); err != nil {
		return err
	}
	regions[o.Name] = entry
	data, err := json.MarshalIndent(regions, "", "  ")
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(o.Root, regionsFile), append(data, '\n')); err != nil {
		return err
	}
	for name, data := range files {
		if err := create(filepath.Join(dir, name), data); err != nil {
			return err
		}
	}
	return nil
}

// regionUser is a user of the stream's account, with what it may.
func regionUser(k keys, name string, may func(*jwt.UserClaims)) (credentials []byte, key string, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, "", err
	}
	seed, err := pair.Seed()
	if err != nil {
		return nil, "", err
	}
	u := jwt.NewUserClaims(public(pair))
	u.Name = "region-" + name
	may(u)
	text, err := u.Encode(k[fleetKey])
	return enrol.Credentials(text, string(seed)), public(pair), err
}

// leafMay is what may come over the connection from a region's server, and what it may hear: its hosts' words and what they are
// answered, what a mirror asks and is sent, and nothing that changes the stream.
func leafMay(u *jwt.UserClaims, name, parent string) {
	u.AllowedConnectionTypes.Add(jwt.ConnectionTypeLeafnode)
	api := apiOf(parent)
	for _, one := range shared() {
		if one.kind == jwt.Service && one.subject == one.local { // what is read, each server has itself
			u.Pub.Allow.Add(one.subject)
		}
	}
	u.Pub.Allow.Add(claimsSubject, statusInboxes+">",
		api+".STREAM.INFO."+fleet.Stream, api+".CONSUMER.CREATE."+fleet.Stream, api+".CONSUMER.CREATE."+fleet.Stream+".>", api+".CONSUMER.DELETE."+fleet.Stream+".>", "$JS.FC.>")
	u.Sub.Allow.Add("_R_.>", "$JS.M.>", "$JSC.R.>", regionInboxes+">", changedSubject, statusSubject)
}

// regionMay is what the region's own process may, at the server within it: its stream, and to ask.
func regionMay(u *jwt.UserClaims, name, parent string) {
	u.AllowedConnectionTypes.Add(jwt.ConnectionTypeInProcess)
	u.Pub.Allow.Add("$JS.API.>", apiOf(parent)+".STREAM.INFO."+fleet.Stream, claimsSubject, statusInboxes+">")
	u.Sub.Allow.Add(regionInboxes+name+".>", changedSubject, statusSubject)
}

// refusedRegions are the keys of regions that hub.toml refuses.
func refusedRegions(dir string, cfg Config) ([]string, error) {
	if len(cfg.RegionsRefused) == 0 {
		return nil, nil
	}
	regions, err := readRegions(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range cfg.RegionsRefused {
		one, ok := regions[name]
		if !ok {
			return nil, fmt.Errorf("%s: [regions] refuse: no region %s is in %s", filepath.Join(dir, ConfigFile), name, regionsFile)
		}
		out = append(out, one.Keys...)
	}
	slices.Sort(out)
	return out, nil
}

package hub

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bailiff/pkg/fleet"
)

// cable is the way from a hub to the one above, which a test cuts.
type cable struct {
	listener net.Listener
	to       string

	mu   sync.Mutex
	cut  bool
	open map[net.Conn]bool
}

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: l, to: to, open: map[net.Conn]bool{}}
	t.Cleanup(func() { l.Close(); c.set(true) })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go c.carry(in)
		}
	}()
	return c
}

func (c *cable) url() string { return "tls://" + c.listener.Addr().String() }

func (c *cable) carry(in net.Conn) {
	defer in.Close()
	out, err := net.DialTimeout("tcp", c.to, 5*time.Second)
	if err != nil {
		return
	}
	defer out.Close()
	c.mu.Lock()
	if c.cut {
		c.mu.Unlock()
		return
	}
	c.open[in], c.open[out] = true, true
	c.mu.Unlock()
	go func() {
		_, _ = io.Copy(out, in)
		out.Close()
	}()
	_, _ = io.Copy(in, out)
	c.mu.Lock()
	delete(c.open, in)
	delete(c.open, out)
	c.mu.Unlock()
}

// set cuts the way, or heals it.
func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	if cut {
		for one := range c.open {
			one.Close()
		}
	}
}

// belowed is a root that listens for regions, and where that is.
func belowed(t *testing.T) (dir, at string) {
	t.Helper()
	dir = made(t)
	return dir, listening(t, dir)
}

// listening has a hub listen for regions.
func listening(t *testing.T, dir string) (at string) {
	t.Helper()
	at = fmt.Sprintf("127.0.0.1:%d", ports(t, 1)[0])
	file := filepath.Join(dir, ConfigFile)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "\n[regions]\nlisten = %q\nurls = [\"tls://%s\"]\n", at, at); err != nil {
		t.Fatal(err)
	}
	return at
}

// regional is a region's directory, which reaches the hub above over a cable.
func regional(t *testing.T, root, name, under string, way *cable) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := InitRegion(dir, RegionOptions{Name: name, Root: root, Under: under, UnderURLs: []string{way.url()}, Names: []string{"127.0.0.1"}, Address: "127.0.0.1", Port: ports(t, 1)[0]}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// connected waits until the root hears of so many regions that have all of the stream.
func connected(t *testing.T, root string, regions int) Status {
	t.Helper()
	return reported(t, root, fmt.Sprintf("%d regions", regions), func(s Status) bool {
		n := 0
		for _, h := range s.Hubs {
			if h.Parent != "" && h.Problem == "" && h.Behind < 5 { // beats are on their way
				n++
			}
		}
		return n == regions
	})
}

// TestRegionLater: a region that is made while the root is at work, as the documentation has it, finds nothing wrong with the root's word on
// who was taken out, and takes it.
func TestRegionLater(t *testing.T) {
	root, at := belowed(t)
	h, _ := running(t, root)
	// What is signed says in which second: the region's is to be a later one.
	for begun := time.Now().Unix(); time.Now().Unix() < begun+2; {
		time.Sleep(10 * time.Millisecond)
	}
	dir := regional(t, root, "east", rootDomain, newCable(t, at))
	keeping(t, dir)
	connected(t, root, 1)
	nc, _ := joined(t, root, "web-1", TokenOptions{Region: "east"})
	cut := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(cut) })
	if err := client(t, root).Distrust(within(t), "web-1"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-cut:
	case <-time.After(patience):
		t.Error("a host that was taken out is connected with the region still")
	}
	if got := holds(t, h); got[fleet.DistrustKey("web-1").String()] == 0 {
		t.Errorf("what it said is not lifted: %v", got)
	}
	connected(t, root, 1)
}

// TestRegions: a root, two regions, and a region below one of them, each a server of its own with a copy of the stream: a
// ban in one is in force in all. A region that is cut off goes on by itself, has its copy, keeps what its hosts say, and has it told when
// it is healed. Who is taken out is out in each; a root's stream that is another one is copied anew.
func TestRegions(t *testing.T) {
	root, at := belowed(t)
	h, stopRoot := running(t, root)
	ways := map[string]*cable{"east": newCable(t, at), "west": newCable(t, at)}
	dirs := map[string]string{}
	for name, way := range ways {
		dirs[name] = regional(t, root, name, rootDomain, way)
	}
	ways["harbour"] = newCable(t, listening(t, dirs["east"]))
	dirs["harbour"] = regional(t, root, "harbour", "east", ways["harbour"])
	logs := map[string]*notes{}
	for name, dir := range dirs {
		logs[name], _ = keeping(t, dir)
	}
	connected(t, root, 3)

	ban := fleet.Entry{Jail: "sshd", Left: 3600, Count: 1, Failures: 5}
	center, a := agent(t, root, "web-1", TokenOptions{})
	east, b := agent(t, root, "web-2", TokenOptions{Region: "east"})
	west, c := agent(t, root, "web-3", TokenOptions{Region: "west", Lifts: true})
	harbour, d := agent(t, root, "web-4", TokenOptions{Region: "harbour"})
	all := []*shut{a, b, c, d}
	has := func(who string, want bool, some ...*shut) {
		t.Helper()
		for _, s := range some {
			s.has(t, who, want)
		}
	}
	tell(t, east, fleet.BanKey("web-2", "ssh", prefix("198.51.100.7")), ban)
	has("198.51.100.7", true, all...)
	tell(t, harbour, fleet.BanKey("web-4", "ssh", prefix("198.51.100.8")), ban)
	has("198.51.100.8", true, all...)
	tell(t, west, fleet.LiftKey("web-3", "ssh", prefix("198.51.100.7")), fleet.Entry{})
	has("198.51.100.7", false, all...)
	s := connected(t, root, 3)
	if n := len(s.Hosts); n != 4 || slices.ContainsFunc(s.Hosts, func(h HostStatus) bool { return h.Connected == nil }) || s.Hosts[3].Hub != "harbour" {
		t.Errorf("%d hosts: %+v", n, s.Hosts)
	}

	second, _ := joined(t, root, "web-6", TokenOptions{Region: "east"})
	last, _ := joined(t, root, "web-7", TokenOptions{Region: "harbour"})
	stored := holds(t, h)

	// East is cut off, and harbour behind it: both go on by themselves.
	ways["east"].set(true)
	logs["east"].await("by itself now")
	tell(t, east, fleet.BanKey("web-2", "ssh", prefix("203.0.113.1")), ban)
	tell(t, harbour, fleet.BanKey("web-4", "ssh", prefix("203.0.113.2")), ban)
	tell(t, center, fleet.BanKey("web-1", "ssh", prefix("203.0.113.3")), ban)
	has("203.0.113.3", true, a, c)
	has("203.0.113.3", false, b, d)
	// What was said before is read from the copies, with the numbers that it has at the root.
	for _, nc := range []*nats.Conn{second, last} {
		if got := reads(t, nc); got["web-4.b.ssh.4c6336408"] == 0 || got["web-4.b.ssh.4c6336408"] != stored["web-4.b.ssh.4c6336408"] {
			t.Errorf("the copy of a region that is cut off holds %v, the root %v", got, stored)
		}
	}
	has("198.51.100.8", true, b, d)
	ways["east"].set(false)
	for _, who := range []string{"203.0.113.1", "203.0.113.2", "203.0.113.3"} {
		has(who, true, all...)
	}
	has("198.51.100.7", false, all...)

	// Who is taken out at the root is out at the end of the tree.
	raw, files := joined(t, root, "web-5", TokenOptions{Region: "harbour"})
	takenOut(t, root, "web-5", raw, files)

	// The root's stream is lost: the regions' copies are made anew, and all is there again.
	stopRoot()
	if err := os.RemoveAll(filepath.Join(root, storeDir)); err != nil {
		t.Fatal(err)
	}
	running(t, root)
	logs["west"].await("it is made anew")
	logs["harbour"].await("it is made anew")
	tell(t, center, fleet.BanKey("web-1", "ssh", prefix("203.0.113.4")), ban)
	for _, who := range []string{"198.51.100.8", "203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4"} {
		has(who, true, all...)
	}
}

// reads are the keys that a host reads at its hub.
func reads(t *testing.T, nc *nats.Conn) map[string]uint64 {
	t.Helper()
	inbox := nc.NewRespInbox()
	answers, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest(fleet.GetSubject, inbox, []byte(`{"seq":1,"batch":1000}`)); err != nil {
		t.Fatal(err)
	}
	out := map[string]uint64{}
	for {
		m, err := answers.NextMsgWithContext(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get("Status") != "" {
			return out
		}
		s, err := fleet.ReadStored(m.Header, m.Data)
		if err != nil {
			t.Fatal(err)
		}
		out[s.Key.String()] = s.Rev
	}
}

// TestCapturedRegion: who has the directory of a region's hub, and what comes of what he could try at the root: he can speak for
// hosts, which docs/fleet.md says, and change nothing of the stream by himself; and he is refused when hub.toml says so.
func TestCapturedRegion(t *testing.T) {
	root, at := belowed(t)
	h, stop := running(t, root)
	dir := regional(t, root, "east", rootDomain, newCable(t, at))
	for _, secret := range []string{operatorKey, fleetKey, agentsKey, hostRole, joinRole, hubUserKey} {
		if _, err := os.Stat(filepath.Join(dir, secret+".nk")); err == nil {
			t.Errorf("a region's directory has %s.nk", secret)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, authorityKeyFile)); err == nil {
		t.Error("a region's directory has the authority's key")
	}
	authority := filepath.Join(dir, authorityFile)
	for _, file := range []string{leafFile, hubUserFile} {
		if nc, err := nats.Connect(h.cfg.URLs[0], enrolled(filepath.Join(dir, file), authority)...); err == nil {
			nc.Close()
			t.Errorf("%s lets in a client at the root", file)
		}
	}
	// His own server, with the region's credentials and no bounds of its own: what gets over to the root is what the leaf's user may.
	r, err := OpenRegion(within(t), dir, RunOptions{Log: logged(t)})
	if err != nil {
		t.Fatal(err)
	}
	served, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(served, nil) }()
	defer func() {
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	connected(t, root, 1)
	k, err := readKeys(root)
	if err != nil {
		t.Fatal(err)
	}
	mighty, err := signHubUser(k)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := k[hubUserKey].Seed()
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("", nats.InProcessServer(r.engine.s), nats.UserJWTAndSeed(mighty, string(seed)), nats.CustomInboxPrefix(regionInboxes+"captured"), silent)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.NewWithDomain(nc, rootDomain, jetstream.WithDefaultTimeout(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	before := holds(t, h)
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		t.Cleanup(cancel)
		return ctx
	}
	if err := js.DeleteStream(soon(), fleet.Stream); err == nil {
		t.Error("a region deletes the root's stream")
	}
	if s, err := js.Stream(within(t), fleet.Stream); err != nil {
		t.Errorf("a region may ask how the stream is: %v", err)
	} else {
		if err := s.Purge(soon()); err == nil {
			t.Error("a region purges the root's stream")
		}
		if err := s.DeleteMsg(soon(), 1); err == nil {
			t.Error("a region deletes a word of the root's stream")
		}
	}
	if _, err := js.CreateStream(soon(), jetstream.StreamConfig{Name: "more", Subjects: []string{"more"}}); err == nil {
		t.Error("a region makes a stream at the root")
	}
	for _, subject := range []string{"$KV.bans.web-2.b.ssh.4c6336409", "$KV.fleet.host.web-9", "live.bans.web-2.b.ssh.4c6336409", "live.bans.hub.b.beat", reloadSubjects + "hub-1", "$JS.hub.API.STREAM.PURGE." + fleet.Stream} {
		if err := nc.Publish(subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushWithContext(within(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Stream(within(t), fleet.Stream); err != nil { // over the same connection: all before it has come
		t.Fatal(err)
	}
	if after := holds(t, h); len(after) != len(before) {
		t.Errorf("the root's stream had %v, and has %v", before, after)
	}
	if got, err := h.members.hosts(within(t)); err != nil || len(got) != 0 {
		t.Errorf("hosts: %v, %v", got, err)
	}
	// Refused at the root, it has no connection any more.
	stop()
	file := filepath.Join(root, ConfigFile)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(data), "\n[regions]\n", "\n[regions]\nrefuse = [\"east\"]\n", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	again, _ := running(t, root)
	time.Sleep(3 * time.Second) // it tries each second
	z, err := again.server.(*engine).s.Leafz(nil)
	if err != nil || z.NumLeafs != 0 {
		t.Errorf("%d leaf nodes are connected, %v", z.NumLeafs, err)
	}
}

// TestRenewRegion: a region's certificate is made anew where the authority's key is, and nowhere else.
func TestRenewRegion(t *testing.T) {
	root, at := belowed(t)
	dir := regional(t, root, "east", rootDomain, newCable(t, at))
	if _, err := Renew(dir, nil); err == nil || !strings.Contains(err.Error(), "the key of the fleet's authority is needed") {
		t.Errorf("without the authority's key: %v", err)
	}
	data, err := os.ReadFile(filepath.Join(root, authorityKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := create(filepath.Join(dir, authorityKeyFile), data); err != nil {
		t.Fatal(err)
	}
	before, err := readPair(dir, serverFile, serverKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Renew(dir, nil); err != nil {
		t.Fatal(err)
	}
	after, err := readPair(dir, serverFile, serverKeyFile)
	if err != nil || after.cert.SerialNumber.Cmp(before.cert.SerialNumber) == 0 || !slices.Equal(sans(after.cert), sans(before.cert)) {
		t.Errorf("%v of %v, %v", sans(after.cert), sans(before.cert), err)
	}
	if _, err := readTransport(dir, time.Now()); err != nil {
		t.Error(err)
	}
}

package hub

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
	"bailiff/pkg/safefile"
)

// Names of keys in a hub's directory: the seeds are in NAME.nk.
const (
	operatorKey = "operator"
	systemKey   = "system"
	fleetKey    = "fleet"  // the account of the stream: the gate, and nobody else
	agentsKey   = "agents" // the account of hosts
	hubUserKey  = "hub-user"
	hostRole    = "role-host"   // signs hosts
	lifterRole  = "role-lifter" // signs hosts that may lift what others banned
	joinRole    = "role-join"   // signs those who have a token
)

var keyKinds = map[string]func() (nkeys.KeyPair, error){
	operatorKey: nkeys.CreateOperator, systemKey: nkeys.CreateAccount, fleetKey: nkeys.CreateAccount, agentsKey: nkeys.CreateAccount,
	hubUserKey: nkeys.CreateUser, hostRole: nkeys.CreateAccount, lifterRole: nkeys.CreateAccount, joinRole: nkeys.CreateAccount,
}

// payloadMost is how many bytes a host may send at once.
const payloadMost = 4 << 10

// keys are a fleet's keys, by their names.
type keys map[string]nkeys.KeyPair

func newKeys() (keys, error) {
	k := keys{}
	for name, create := range keyKinds {
		pair, err := create()
		if err != nil {
			return nil, err
		}
		k[name] = pair
	}
	return k, nil
}

func readKeys(dir string) (keys, error) {
	k := keys{}
	for name, create := range keyKinds {
		file := filepath.Join(dir, name+".nk")
		seed, err := safefile.ReadFile(file, 1<<10)
		if err != nil {
			return nil, err
		}
		pair, err := nkeys.FromSeed([]byte(strings.TrimSpace(string(seed))))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if like, err := create(); err != nil || kindOf(like) != kindOf(pair) {
			return nil, fmt.Errorf("%s: it is the key of something else", file)
		}
		k[name] = pair
	}
	return k, nil
}

// kindOf is the first letter of a public key, which tells what it is of.
func kindOf(k nkeys.KeyPair) string { return public(k)[:1] }

// public is the public half; a pair of this package always has one.
func public(k nkeys.KeyPair) string {
	p, err := k.PublicKey()
	if err != nil {
		return "?"
	}
	return p
}

// roles are what those may do whom the role's key signs. {{name()}} is the name in the JWT: who signs
// checks it, since a host named * would speak for all.
func roles() map[string]jwt.UserPermissionLimits {
	host := func(publish ...string) jwt.UserPermissionLimits {
		return limited(append(publish, "put.{{name()}}.b.>", fleet.GetSubject, fleet.FailSubjects+"{{name()}}", fleet.AllowSubjects+"{{name()}}", enrol.LeaveSubjects+"{{name()}}"), fleet.InboxPrefix+"{{name()}}.>", fleet.LiveSubjects+">")
	}
	return map[string]jwt.UserPermissionLimits{
		hostRole:   host(),
		lifterRole: host("put.{{name()}}.l.>"),
		joinRole:   limited([]string{enrol.JoinSubject}, enrol.JoinInboxes+"{{name()}}.>"),
	}
}

func limited(publish []string, subscribe ...string) jwt.UserPermissionLimits {
	var u jwt.UserPermissionLimits
	u.Pub.Allow.Add(publish...)
	u.Sub.Allow.Add(subscribe...)
	u.Limits = jwt.Limits{UserLimits: jwt.UserLimits{Src: jwt.CIDRList{}}, NatsLimits: jwt.NatsLimits{Subs: 16, Data: jwt.NoLimit, Payload: payloadMost}}
	u.AllowedConnectionTypes.Add(jwt.ConnectionTypeStandard)
	return u
}

// claims are the accounts' words, signed by the operator.
type claims struct {
	operator, system, fleet, agents string
	systemID, fleetID, agentsID     string // the accounts' public keys
}

// newClaims makes them. revoked are the keys of hosts that were taken back, and since when.
func newClaims(k keys, cfg Config, revoked map[string]time.Time) (c claims, err error) {
	c.systemID, c.fleetID, c.agentsID = public(k[systemKey]), public(k[fleetKey]), public(k[agentsKey])
	o := jwt.NewOperatorClaims(public(k[operatorKey]))
	o.Name, o.SystemAccount = "bailiff", public(k[systemKey])
	if c.operator, err = o.Encode(k[operatorKey]); err != nil {
		return c, err
	}
	s := jwt.NewAccountClaims(public(k[systemKey]))
	s.Name = "SYS"
	if c.system, err = encode(s, k); err != nil {
		return c, err
	}
	if c.fleet, err = encode(streamClaims(k, cfg), k); err != nil {
		return c, err
	}
	a, err := agentClaims(k, cfg, revoked)
	if err != nil {
		return c, err
	}
	c.agents, err = encode(a, k)
	return c, err
}

// streamClaims are those of the stream's account. On servers that have other users, it has a limit.
func streamClaims(k keys, cfg Config) *jwt.AccountClaims {
	f := jwt.NewAccountClaims(public(k[fleetKey]))
	f.Name = "FLEET"
	f.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: 0, DiskStorage: jwt.NoLimit, Streams: 4, Consumer: 64}
	if cfg.External() {
		f.Limits.DiskStorage = cfg.Store * int64(cfg.Replicas)
	}
	for _, key := range cfg.regionKeysRefused {
		f.Revoke(key)
	}
	for _, one := range shared() {
		f.Exports.Add(&jwt.Export{Name: one.name, Subject: jwt.Subject(one.subject), Type: one.kind, ResponseType: one.response})
	}
	return f
}

// agentClaims are those of the hosts' account.
func agentClaims(k keys, cfg Config, revoked map[string]time.Time) (*jwt.AccountClaims, error) {
	a := jwt.NewAccountClaims(public(k[agentsKey]))
	a.Name = "AGENTS"
	if cfg.External() {
		a.Limits.Conn = connectionsMost
	}
	for _, one := range shared() {
		a.Imports.Add(&jwt.Import{Name: one.name, Subject: jwt.Subject(one.subject), LocalSubject: jwt.RenamingSubject(one.local), Account: public(k[fleetKey]), Type: one.kind})
	}
	for role, may := range roles() {
		scope := jwt.NewUserScope()
		scope.Key, scope.Role, scope.Template = public(k[role]), role, may
		a.SigningKeys.AddScopedSigner(scope)
	}
	for key, at := range revoked {
		if !nkeys.IsValidPublicUserKey(key) {
			return nil, errors.New("what was taken back is no key of a host")
		}
		a.RevokeAt(key, at)
	}
	return a, nil
}

// agentsNow are the claims of the hosts' account, as text.
func agentsNow(k keys, cfg Config, revoked map[string]time.Time) ([]byte, error) {
	c, err := agentClaims(k, cfg, revoked)
	if err != nil {
		return nil, err
	}
	text, err := encode(c, k)
	return []byte(text), err
}

// revokedMost is how many keys that were taken back are kept: of more, the oldest are let go.
const revokedMost = 20_000

// revokedIn are the keys that claims of the hosts' account take back, and since when.
func revokedIn(text string) (map[string]time.Time, error) {
	out := map[string]time.Time{}
	if text == "" {
		return out, nil
	}
	c, err := jwt.DecodeAccountClaims(text)
	if err != nil {
		return nil, err
	}
	for key, at := range c.Revocations {
		out[key] = time.Unix(at, 0).UTC()
	}
	return out, nil
}

// share is what the account of hosts sees of the account of the stream.
type share struct {
	name, subject, local string
	kind                 jwt.ExportType
	response             jwt.ResponseType
}

func shared() []share {
	return []share{
		{"put", "put.>", "put.>", jwt.Service, jwt.ResponseTypeSingleton},
		{"join", enrol.JoinSubject, enrol.JoinSubject, jwt.Service, jwt.ResponseTypeSingleton},
		{"leave", enrol.LeaveSubjects + "*", enrol.LeaveSubjects + "*", jwt.Service, jwt.ResponseTypeSingleton},
		{"fail", fleet.FailSubjects + "*", fleet.FailSubjects + "*", jwt.Service, jwt.ResponseTypeSingleton},
		{"allow", fleet.AllowSubjects + "*", fleet.AllowSubjects + "*", jwt.Service, jwt.ResponseTypeSingleton},
		{"get", "$JS.API.DIRECT.GET." + fleet.Stream, fleet.GetSubject, jwt.Service, jwt.ResponseTypeStream},
		{"live", fleet.LiveSubjects + ">", fleet.LiveSubjects + ">", jwt.Stream, ""},
	}
}

// encode checks an account's claims and signs them.
func encode(a *jwt.AccountClaims, k keys) (string, error) {
	results := jwt.CreateValidationResults()
	a.Validate(results)
	if errs := results.Errors(); len(errs) > 0 {
		return "", fmt.Errorf("account %s: %w", a.Name, errs[0])
	}
	return a.Encode(k[operatorKey])
}

// signHost gives a host's key its name. A name that is none of a host's is never signed.
func signHost(k keys, name, key string, lifts bool) (string, error) {
	if err := fleet.CheckHost(name); err != nil {
		return "", err
	}
	if !nkeys.IsValidPublicUserKey(key) {
		return "", errors.New("the key is no public key of a user")
	}
	role := hostRole
	if lifts {
		role = lifterRole
	}
	return signUser(k, role, name, key, time.Time{})
}

// signUser has a role's key sign a user, until then.
func signUser(k keys, role, name, key string, until time.Time) (string, error) {
	u := jwt.NewUserClaims(key)
	u.Name, u.IssuerAccount = name, public(k[agentsKey])
	u.SetScoped(true)
	if !until.IsZero() {
		u.Expires = until.Unix()
	}
	return u.Encode(k[role])
}

// signHubUser is the user of the gate and of the hub's own commands, which may do all in the stream's account.
func signHubUser(k keys) (string, error) {
	u := jwt.NewUserClaims(public(k[hubUserKey]))
	u.Name = fleet.Hub
	return u.Encode(k[fleetKey])
}

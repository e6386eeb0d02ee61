package hub

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"bailiff/pkg/fleet/enrol"
)

// Files of a directory whose NATS server somebody else runs.
const (
	// NATSFile is what that server's configuration needs.
	NATSFile   = "nats.conf"
	systemFile = "system.creds"
)

// Subjects of the servers' own account.
const claimsUpdate = "$SYS.REQ.CLAIMS.UPDATE"

func claimsLookup(account string) string { return "$SYS.REQ.ACCOUNT." + account + ".CLAIMS.LOOKUP" }

func connectionsOf(account string) string { return "$SYS.REQ.ACCOUNT." + account + ".CONNZ" }

// Where nats.conf says that things are on the servers' machines: what an operator changes.
const (
	externalFiles = "/etc/nats/bailiff"
	externalData  = "/var/lib/nats"
)

// systemUser is a user of the servers' own account that may tell of the fleet's accounts, ask who is connected, and nothing else.
func systemUser(k keys) ([]byte, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, err
	}
	seed, err := pair.Seed()
	if err != nil {
		return nil, err
	}
	u := jwt.NewUserClaims(public(pair))
	u.Name = "bailiff"
	u.Pub.Allow.Add(claimsUpdate, claimsLookup(public(k[fleetKey])), claimsLookup(public(k[agentsKey])), connectionsOf(public(k[agentsKey])))
	u.Sub.Allow.Add("_INBOX.>")
	text, err := u.Encode(k[systemKey])
	if err != nil {
		return nil, err
	}
	return enrol.Credentials(text, string(seed)), nil
}

// natsText is the part of a NATS server's configuration that makes it a fleet's.
func natsText(c claims, k keys, cfg Config) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `# What a NATS server (2.15.2 or newer) needs to hold a fleet of bailiff, for each server of the cluster:
# as it is, or by include in its own configuration. Nothing here is secret but the key that tls names.

# Whose accounts the servers trust. Where there is an operator already, make it a list, operator: ["yours.jwt", "this"],
# leave out the system account and the resolver, and give the gatekeeper a user of yours, by
# system_credentials in hub.toml; the three accounts below have to be known to your resolver (nsc push).
operator: %q
system_account: %s

# Where the accounts are kept: what bailiff hub gatekeeper tells of hosts that were taken out goes there.
resolver {
  type: full
  dir: %q
  allow_delete: false
  interval: "2m"
  limit: 1000
}
resolver_preload {
`, c.operator, public(k[systemKey]), externalData+"/jwt")
	for _, one := range []struct{ name, key, text string }{{"SYS", systemKey, c.system}, {"FLEET: the stream, and who writes it", fleetKey, c.fleet}, {"AGENTS: the hosts", agentsKey, c.agents}} {
		fmt.Fprintf(&b, "  # %s\n  %s: %s\n", one.name, public(k[one.key]), one.text)
	}
	fmt.Fprintf(&b, `}

# Hosts know the servers by the authority that is behind the certificate in this file; both are in this directory.
tls {
  cert_file: %q
  key_file: %q
  timeout: 5
}

# What was acknowledged is on the disk.
jetstream {
  store_dir: %q
  sync_interval: always
  max_file_store: %s
}
`, externalFiles+"/"+serverFile, externalFiles+"/"+serverKeyFile, externalData+"/jetstream", strconv.FormatInt(cfg.Store, 10))
	return []byte(b.String())
}

// Package hub is where the hosts of a fleet meet: NATS' server with a stream of all bans, in this
// process, and the gate, which alone writes to that stream.
//
// Hosts ask the gate to store what they say, each under its own name, which the server vouches
// for; the gate reads it strictly, holds it against the limits of the host, and writes a
// message of its own. What was stored, the server tells everybody. pkg/fleet has the words,
// and the rule by which hosts make of them whom they refuse.
//
//	_, err := hub.Init("/var/lib/bailiff-hub", hub.InitOptions{Names: []string{"hub.example"}})
//	err = hub.Run(ctx, "/var/lib/bailiff-hub", hub.RunOptions{Log: log})
//
// All that a hub is, is in its directory: keys, certificates, accounts, configuration, the
// stream. Only this package imports NATS' server.
package hub

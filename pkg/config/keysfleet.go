package config

import "reflect"

// fleetURL is what an example of [fleet] begins with.
const fleetURL = "url = \"tls://hub.example:4222\"\n"

// fleetTable and fleetGroupTable explain what is shared with other hosts.
var fleetTable = refTable{
	MainFile, "fleet", reflect.TypeFor[rawFleet](), []string{"group"}, []keyWords{
		{
			name:    "url",
			example: `url = ["tls://hub-1.example:4222", "tls://hub-2.example:4222"]`,
			text:    "Where the hubs of the fleet are (docs/fleet.md), as bailiff fleet join prints it. Without it this host is in no fleet. Plain nats:// is for a hub on 127.0.0.1 alone.",
		},
		{
			name:    "credentials",
			def:     "the file fleet.creds beside bailiff.toml",
			example: fleetURL + `credentials = "/etc/bailiff/fleet.creds"`,
			text:    "The file with this host's key and what the hub has signed of it, which bailiff fleet join writes. Only its owner can read it, who is to be the daemon's user.",
		},
		{
			name:    "ca",
			def:     "the file fleet-ca.pem beside bailiff.toml",
			example: fleetURL + `ca = "/etc/bailiff/fleet-ca.pem"`,
			text:    "The certificate by which the hub is known, which bailiff fleet join writes.",
		},
		{
			name:    "lift_others",
			def:     "false",
			example: fleetURL + `lift_others = true`,
			text:    "That the hub lets this host lift what others have banned (bailiff fleet token --lift-others): then bailiff unban lifts everywhere. Without it, a ban of this host's own is taken back, and those of others stay.",
		},
		{
			name:    "allow_key",
			example: fleetURL + "allow_key = \"OCTUJ7ES4GEZA6IWUFP6RNC4NOY42BPQOVRL27DGBAEID2HTVP2KDLIG\"",
			text:    "The public key by which the fleet's allow-list is signed (bailiff fleet allow), which bailiff fleet join writes: whom that list names, no ban of the fleet shuts out here. A list that another key has signed, or that is older than the one that is held, is not taken, whatever the hub says. Without the key none is.",
		},
		{
			name:    "count",
			example: fleetURL + "count = [\"ssh\"]\n\n[fleet.group.ssh]\npublish = [\"sshd\"]",
			text:    "The groups in which failures are counted over all hosts, by the hub ([count.NAME] in its hub.toml): this host tells it of the failures of the jails that publish into them, and what the hub bans by that is in force here, whatever accept says. What jails count themselves stays as it is.",
		},
		{
			name:    "accept",
			def:     "all of the fleet",
			example: fleetURL + `accept = ["web-*", "mail"]`,
			text:    "The hosts whose bans are in force here, by their names in the fleet, with * and ? as in file names. Lifts count from whomever the hub lets lift.",
		},
		{
			name:    "max_ban",
			time:    true,
			def:     "7d",
			example: fleetURL + `max_ban = "1d"`,
			text:    "How long a ban of another host's is in force here at the most, from its making on. What jails ban here lasts as long as they say.",
		},
		{
			name:    "bans",
			def:     "100000",
			example: fleetURL + `bans = 20000`,
			text:    "How many bans are held of each other host. What is more is refused and counted.",
		},
		{
			name:    "widest_ipv4",
			def:     "16",
			example: fleetURL + `widest_ipv4 = 24`,
			text:    "The shortest prefix of IPv4 that is taken from others: with 24, no network larger than a /24.",
		},
		{
			name:    "widest_ipv6",
			def:     "32",
			example: fleetURL + `widest_ipv6 = 48`,
			text:    "The shortest prefix of IPv6 that is taken from others.",
		},
		{
			name:    "ignoreip",
			example: fleetURL + `ignoreip = ["198.51.100.0/24"]`,
			text:    "Whom no ban of the fleet shuts out here, as in a jail: beside whom [default] and the jails ignore, this host's own addresses, gateways and name servers, the hubs, and who is logged in over SSH.",
		},
	},
}

var fleetGroupTable = refTable{
	MainFile, "fleet.group.NAME", reflect.TypeFor[rawFleetGroup](), nil, []keyWords{
		{
			name:    "publish",
			example: `publish = ["sshd"]`,
			text:    "The jails of this host whose bans of addresses and networks are shared with the fleet, in this group. The name of a group is of a-z, 0-9 and -.",
		},
		{
			name:    "enforce",
			def:     "true",
			example: `enforce = false`,
			text:    "Whether bans of the group are in force here, in the sets addr-set-fleet-NAME and addr6-set-fleet-NAME. With false this host only publishes.",
		},
		{
			name:    "quorum",
			def:     "1",
			example: `quorum = 2`,
			text:    "How many hosts must have banned somebody, whose bans all stand, for that to be in force here.",
		},
		{
			name:    "port",
			def:     "all",
			example: `port = ["ssh"]`,
			text:    "The ports that are shut to who is banned in the group: numbers, names of /etc/services, ranges.",
		},
		{
			name:    "protocol",
			example: "port = [\"443\"]\nprotocol = [\"tcp\", \"udp\"]",
			text:    "The protocols of the ports, as in a jail. Without the key it is tcp where there are ports, else everything.",
		},
		{
			name:    "blocktype",
			def:     "reject",
			values:  []string{"reject", "drop"},
			example: `blocktype = "drop"`,
			text:    "What is done with packets of who is banned, as in a jail.",
		},
	},
}

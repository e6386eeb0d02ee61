package config

import "reflect"

// syslogTable explains what holds for all listeners of syslog.
var syslogTable = refTable{
	MainFile, "syslog", reflect.TypeFor[rawSyslog](), nil, []keyWords{
		{
			name:    "cert",
			example: "cert = \"/etc/bailiff/tls/host.pem\"\nkey = \"/etc/bailiff/tls/host.key\"\nca = \"/etc/bailiff/tls/senders.pem\"",
			text:    "For listen = \"tls://…\": the file (PEM) of this host's certificate, with those between it and its authority. It is read anew at a reload.",
		},
		{
			name:    "key",
			example: `key = "/etc/bailiff/tls/host.key"`,
			text:    "For listen = \"tls://…\": the file (PEM) of the certificate's private key.",
		},
		{
			name:    "ca",
			example: `ca = "/etc/bailiff/tls/senders.pem"`,
			text:    "For listen = \"tls://…\": the file (PEM) of the authorities whose certificates senders have to have. Who has none is refused.",
		},
		{
			name:    "lines",
			def:     "50000",
			example: `lines = 5000`,
			text:    "How many messages of one sender (an address, of IPv6 a /64, or a user of a Unix socket) are taken in a second by each listener. Of datagrams, what is beyond is dropped, and logged; streams are read more slowly.",
		},
		{
			name:    "bytes",
			def:     "16777216",
			example: `bytes = 1048576`,
			text:    "The same in bytes.",
		},
		{
			name:    "connections",
			def:     "32",
			example: `connections = 100`,
			text:    "How many connections one sender may have to a listener. With one more, the one that was silent for longest is ended.",
		},
		{
			name:    "mode",
			def:     "0600",
			example: `mode = "0660"`,
			text:    "The mode of Unix sockets: who may write to one may send.",
		},
		{
			name:    "group",
			example: "mode = \"0660\"\ngroup = \"www-data\"",
			text:    "The group that Unix sockets are given to. The daemon has to be in it.",
		},
	},
}

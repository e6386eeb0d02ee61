package config

import "reflect"

// webTable explains the page.
var webTable = refTable{
	MainFile, "web", reflect.TypeFor[rawWeb](), nil, []keyWords{
		{
			name:    "listen",
			example: "listen = \"127.0.0.1:8990\"",
			text:    "Where the page is (docs/web.md): ADDRESS:PORT of TCP, or paths of Unix sockets (unix:/run/bailiff/web.sock). bailiff web prints the address and a link to log in by.",
		},
		{
			name:    "group",
			example: "listen = \"unix:/run/bailiff/web.sock\"\ngroup = \"www-data\"",
			text:    "The group that may connect to the Unix sockets: that of the proxy's workers. Without it, they are the daemon's user's and root's alone.",
		},
		{
			name:    "users",
			example: "listen = \"127.0.0.1:8990\"\nusers = \"/etc/bailiff/web-users\"",
			text:    "The file of users, their roles and what their passwords are checked by, as bailiff web user makes it. Without the key it is web-users beside bailiff.toml.",
		},
		{
			name:    "hosts",
			example: "listen = \"127.0.0.1:8990\"\nhosts = [\"bans.example.org\"]",
			text:    "The names by which browsers call the page. Requests for other names are refused, so that no page elsewhere reaches it by a name of its own; addresses and localhost are always good.",
		},
		{
			name:    "cert",
			example: "listen = \"192.0.2.1:8990\"\ncert = \"/etc/bailiff/tls/host.pem\"\nkey = \"/etc/bailiff/tls/host.key\"",
			text:    "The file (PEM) of the certificate, with those between it and its authority: the page is at https. It is read anew at a reload, and when it was changed.",
		},
		{
			name:    "key",
			example: "listen = \"192.0.2.1:8990\"\ncert = \"/etc/bailiff/tls/host.pem\"\nkey = \"/etc/bailiff/tls/host.key\"",
			text:    "The file (PEM) of the certificate's private key.",
		},
		{
			name:    "mmdb",
			example: "listen = \"127.0.0.1:8990\"\nmmdb = [\"/var/lib/GeoIP/GeoLite2-Country.mmdb\", \"/var/lib/GeoIP/GeoLite2-ASN.mmdb\"]",
			text:    "Files in MaxMind's format (GeoLite2, DB-IP, IPinfo) that say in which country an address is, and whose network it is in. There are none of ours; each is read into memory at the first look, up to 256 MiB.",
		},
		{
			name:    "trust",
			example: "listen = \"127.0.0.1:8990\"\ntrust = [\"127.0.0.1\", \"::1\"]",
			text:    "Your reverse proxies: addresses, networks, or unix for whoever may connect to the Unix sockets. X-Forwarded-For, X-Forwarded-Proto and user_header count from them alone.",
		},
		{
			name:    "user_header",
			example: "listen = \"127.0.0.1:8990\"\ntrust = [\"127.0.0.1\"]\nuser_header = \"X-Remote-User\"",
			text:    "The header in which a trusted proxy says who has logged in there; it has to take it out of what clients send. The role is that of the user in the file of users, else user_role.",
		},
		{
			name:    "user_role",
			values:  WebRoles,
			example: "listen = \"127.0.0.1:8990\"\ntrust = [\"127.0.0.1\"]\nuser_header = \"X-Remote-User\"\nuser_role = \"viewer\"",
			text:    "The role of who comes by user_header and is not in the file of users: viewer asks, operator bans, unbans and reloads, admin changes settings, too. Without the key he does not come in.",
		},
		{
			name:    "metrics",
			def:     "nobody",
			example: "listen = \"127.0.0.1:8990\"\nmetrics = \"/etc/bailiff/metrics.token\"",
			text:    "Who may have /metrics of the page, which Prometheus scrapes (docs/metrics.md): open for whoever reaches it, or the file that holds a token, alone, for who sends that (Authorization: Bearer). The file is root's or the daemon's user's, and others can't read it.",
		},
	},
}

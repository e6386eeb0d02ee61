package config

import "reflect"

// checkTable explains where proxies ask.
var checkTable = refTable{
	MainFile, "check", reflect.TypeFor[rawCheck](), nil, []keyWords{
		{
			name:    "listen",
			example: `listen = ["unix:/run/bailiff/check.sock", "127.0.0.1:8787"]`,
			text:    "Where proxies ask whether an address is shut out (docs/proxies.md): GET /v1/check?ip=ADDRESS is answered with 204, or with 403 for who is banned; without ip, X-Real-IP and X-Forwarded-For say who it is. Paths of Unix sockets, and ADDRESS:PORT of TCP. Nothing else is answered there.",
		},
		{
			name:    "group",
			example: "listen = \"/run/bailiff/check.sock\"\ngroup = \"www-data\"",
			text:    "The group that may ask at the Unix sockets: that of the proxy's workers. Without it, they are the daemon's user's and root's alone.",
		},
		{
			name:    "jails",
			def:     "all",
			example: "listen = \"127.0.0.1:8787\"\njails = [\"nginx-http-auth\", \"feed\"]",
			text:    "The jails whose bans count. ?jail=NAME asks about one of them, or several. all are those that are configured; jails of containers' labels count where they are named, or docker-*, which is all of them.",
		},
		{
			name:    "fail",
			def:     "open",
			values:  []string{failOpen, failClosed},
			example: "listen = \"127.0.0.1:8787\"\nfail = \"closed\"",
			text:    "What is answered where nothing can be said, since the daemon starts, or the request names no address, or a jail that isn't there. open: 204, and the header Bailiff-Check says why; closed: 503 while the daemon starts, else 400, which nginx makes 500 of.",
		},
	},
}

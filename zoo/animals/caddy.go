package animals

var _ = add(Animal{
	Name:     "caddy",
	Fail2ban: "-",
	OverIPv6: true,
	Packages: []string{"caddy"},
	Setup: `hash=$(caddy hash-password --plaintext right)
cat >/etc/caddy/zoo <<X
{
	admin off
	auto_https off
}
:80 {
	log {
		output file /var/log/caddy/access.log
	}
	basicauth /private/* {
		alice $hash
		bob $hash
	}
	respond /forbidden 403
	respond "hello"
}
X
mkdir -p /var/log/caddy
`,
	Start:   `caddy run --adapter caddyfile --config /etc/caddy/zoo`,
	Port:    80,
	Log:     "/var/log/caddy/access.log",
	Success: `curl -sSf -u alice:right http://$AT/private/`,
	Ways: []Way{
		{What: "wrong password", Script: get + `-u bob:wrong http://$AT/private/`, Times: 2},
		{What: "unknown user", Script: get + `-u nobody-here:wrong http://$AT/private/`, Times: 2},
		{What: "forbidden", Script: get + `http://$AT/forbidden`},
	},
})

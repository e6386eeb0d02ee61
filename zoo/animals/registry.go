package animals

var _ = add(Animal{
	Name:     "docker-registry",
	Fail2ban: "-",
	Packages: []string{"docker-registry", "apache2-utils"},
	Setup: `mkdir -p /var/lib/registry
htpasswd -Bbc /etc/registry.users alice right
htpasswd -Bb /etc/registry.users bob right
cat >/etc/registry.yml <<'X'
version: 0.1
log: {level: info, formatter: text}
storage: {filesystem: {rootdirectory: /var/lib/registry}}
http: {addr: ":5000"}
auth: {htpasswd: {realm: Registry, path: /etc/registry.users}}
X
`,
	Start:   `exec docker-registry serve /etc/registry.yml >>/var/log/docker-registry.log 2>&1`,
	Port:    5000,
	Log:     "/var/log/docker-registry.log",
	Success: `curl -sSf -u alice:right http://$AT:5000/v2/`,
	Ways: []Way{
		{What: "wrong password", Script: get + `-u bob:wrong http://$AT:5000/v2/`, Times: 2},
		{What: "unknown user", Script: get + `-u nobody-here:wrong http://$AT:5000/v2/`, Times: 2},
	},
})

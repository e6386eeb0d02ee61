package animals

// The service is our own daemon, with a jail of nginx and without a firewall.
var _ = add(Animal{
	Name:     "recidive",
	Packages: []string{"nginx"},
	Copy:     map[string]string{"bin/bailiff": "/usr/local/sbin/bailiff"},
	Setup: nginxSetup + `mkdir -p /etc/bailiff
cat >/etc/bailiff/bailiff.toml <<'X'
logtarget = "/var/log/bailiff.log"
[firewall]
enabled = false
[jail.nginx-http-auth]
enabled = true
logpath = "/var/log/nginx/error.log"
maxretry = 2
bantime = "1s"
X
touch /var/log/nginx/error.log
cat >/tmp/again <<'X'
# Two wrong passwords, and until the ban that they cost is over.
n=$(grep -c 'Unban 192.0.2.7' /var/log/bailiff.log)
for i in 1 2; do curl -sS -o /dev/null -u bob:wrong http://$AT/private/; done
for i in $(seq 300); do [ $(grep -c 'Unban 192.0.2.7' /var/log/bailiff.log) -gt $n ] && exit; sleep 0.1; done
X
`,
	Start:   `nginx; exec bailiff run --socket /run/zoo.sock`,
	Ready:   `bailiff status --socket /run/zoo.sock`,
	Port:    80,
	Log:     "/var/log/bailiff.log",
	Success: `curl -sSf -u alice:right http://$AT/private/`,
	Ways: []Way{
		{What: "banned once more", Script: `sh /tmp/again`, Times: 3},
	},
})

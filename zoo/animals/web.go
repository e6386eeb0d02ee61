package animals

var (
	_ = add(Animal{
		Name:     "lighttpd-auth",
		Root:     "lighttpd",
		Packages: []string{"lighttpd", "lighttpd-mod-openssl"},
		Setup: `cat >/etc/lighttpd/conf-enabled/99-zoo.conf <<'X'
server.modules += ( "mod_auth", "mod_authn_file" )
auth.backend = "plain"
auth.backend.plain.userfile = "/etc/lighttpd/users"
auth.require = ( "/private/" => ( "method" => "basic", "realm" => "p", "require" => "valid-user" ),
	"/digest/" => ( "method" => "digest", "realm" => "p", "require" => "valid-user" ) )
X
printf 'alice:right\nbob:right\n' >/etc/lighttpd/users
mkdir -p /var/www/html/private /var/www/html/digest
echo hello | tee /var/www/html/private/index.html >/var/www/html/digest/index.html
`,
		Start:   `lighttpd -D -f /etc/lighttpd/lighttpd.conf`,
		Port:    80,
		Log:     "/var/log/lighttpd/error.log",
		Success: `curl -sSf -u alice:right http://$AT/private/ && curl -sSf --digest -u alice:right http://$AT/digest/`,
		Ways: []Way{
			{What: "wrong password", Script: get + `-u bob:wrong http://$AT/private/`, Times: 2},
			{What: "unknown user", Script: get + `-u nobody-here:wrong http://$AT/private/`, Times: 2},
			{What: "digest, wrong password", Script: get + `--digest -u bob:wrong http://$AT/digest/`},
			{What: "digest, unknown user, of which lighttpd tells nobody", Script: get + `--digest -u nobody-here:wrong http://$AT/digest/`, Uncounted: true},
		},
	})
	_ = add(Animal{
		Name:      "haproxy-http-auth",
		Quick:     true,
		OverIPv6:  true,
		InJournal: "SYSLOG_IDENTIFIER=haproxy",
		Packages:  []string{"haproxy"},
		Setup: `cat >/etc/haproxy/zoo.cfg <<'X'
global
	log /dev/log local0
defaults
	mode http
	log global
	option httplog
	timeout connect 5s
	timeout client 5s
	timeout server 5s
userlist people
	user alice insecure-password right
	user bob insecure-password right
frontend main
	bind :::80 v4v6
	http-request auth unless { http_auth(people) }
	http-request return status 200 content-type text/plain string hello
X
`,
		Start:   syslog + `haproxy -D -f /etc/haproxy/zoo.cfg`,
		Port:    80,
		Log:     "/var/log/haproxy.log",
		Success: `curl -sSf -u alice:right http://$AT/`,
		Ways: []Way{
			{What: "wrong password", Script: get + `-u bob:wrong http://$AT/`, Times: 2},
			{What: "unknown user", Script: get + `-u nobody-here:wrong http://$AT/`, Times: 2},
		},
	})
	_ = add(Animal{
		Name:     "squid",
		Packages: []string{"squid"},
		Setup: `cat >/etc/squid/squid.conf <<'X'
http_port 3128
acl friends src 198.51.100.0/24
acl port80 port 80
http_access allow friends port80
http_access deny all
cache deny all
shutdown_lifetime 1 second
pinger_enable off
visible_hostname host
X
mkdir -p /srv/www; echo hello >/srv/www/index.html
`,
		Start:   `python3 -m http.server -d /srv/www 80 & squid -N`,
		Port:    3128,
		Log:     "/var/log/squid/access.log",
		Success: `curl -sSf -x http://$AT:3128 http://$AT/`,
		Ways: []Way{
			{What: "a request that is denied", Script: get + `-x http://$AT:3128 http://$AT/`, Times: 2},
			{What: "a tunnel that is denied", Script: get + `-x http://$AT:3128 https://www.example.org:25/`},
		},
	})
)

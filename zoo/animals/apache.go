package animals

const apacheSetup = `
a2enmod -q auth_digest cgid >/dev/null
cat >/etc/apache2/conf-enabled/zoo.conf <<'X'
ServerName www.example.org
<Directory /var/www/html>
	Require all granted
</Directory>
<Location /private>
	AuthType Basic
	AuthName p
	AuthUserFile /etc/apache2/htpasswd
	Require valid-user
</Location>
<Location /digest>
	AuthType Digest
	AuthName realm
	AuthUserFile /etc/apache2/htdigest
	Require valid-user
</Location>
<Location /members>
	AuthType Basic
	AuthName p
	AuthUserFile /etc/apache2/htpasswd
	Require user alice
</Location>
<Location /secret>
	Require all denied
</Location>
X
echo "alice:$(openssl passwd -apr1 right)" >/etc/apache2/htpasswd
echo "bob:$(openssl passwd -apr1 right)" >>/etc/apache2/htpasswd
echo "alice:realm:$(printf alice:realm:right | md5sum | cut -d' ' -f1)" >/etc/apache2/htdigest
mkdir -p /var/www/html/private /var/www/html/digest /var/www/html/members /usr/lib/cgi-bin
for d in . private digest members; do echo hello >/var/www/html/$d/index.html; done
`

func apache(a Animal) struct{} {
	a.Packages = append([]string{"apache2"}, a.Packages...)
	a.Setup = apacheSetup + a.Setup
	a.Start = `apachectl start`
	a.Port = 80
	if a.Log == "" {
		a.Log = "/var/log/apache2/error.log"
	}
	if a.Success == "" {
		a.Success = `curl -sSf http://$AT/`
	}
	return add(a)
}

var (
	_ = apache(Animal{
		Name:     "apache-auth",
		Quick:    true,
		OverIPv6: true,
		Success:  `curl -sSf -u alice:right http://$AT/private/ && curl -sSf -u alice:right http://$AT/members/ && curl -sSf --digest -u alice:right http://$AT/digest/`,
		Ways: []Way{
			{What: "wrong password", Script: get + `-u bob:wrong http://$AT/private/`, Times: 2},
			{What: "unknown user", Script: get + `-u nobody-here:wrong http://$AT/private/`, Times: 2},
			{What: "not allowed", Script: get + `-u bob:right http://$AT/members/`},
			{What: "denied", Script: get + `http://$AT/secret`},
			{What: "digest, wrong password", Script: get + `--digest -u alice:wrong http://$AT/digest/`},
			{What: "digest, unknown user", Script: get + `--digest -u nobody-here:wrong http://$AT/digest/`},
		},
	})
	_ = apache(Animal{
		Name:  "apache-badbots",
		Quick: true,
		Log:   "/var/log/apache2/access.log",
		Ways: []Way{
			{What: "a scanner that gives its name", Script: get + `-A 'sqlmap/1.7 (https://sqlmap.org)' http://$AT/`},
			{What: "another", Script: get + `-A 'Mozilla/5.0 zgrab/0.x' http://$AT/`},
		},
	})
	_ = apache(Animal{
		Name: "apache-botsearch",
		Setup: `sed -i 's/^LogLevel.*/LogLevel info/' /etc/apache2/apache2.conf
`,
		Ways: []Way{
			{What: "what bots look for", Script: get + `http://$AT/phpmyadmin http://$AT/wp-login.php http://$AT/.env`, Counts: 3},
			{What: "what people mistype", Script: get + `http://$AT/favicon.ico`, Uncounted: true},
		},
	})
	_ = apache(Animal{
		Name:  "apache-noscript",
		Quick: true,
		Ways: []Way{
			{What: "a CGI that is not there", Script: get + `http://$AT/cgi-bin/x.pl`, Times: 2},
			{What: "a program in a directory of CGIs", Script: get + `http://$AT/cgi-bin/php5-cgi`},
		},
	})
	_ = apache(Animal{
		Name:  "apache-overflows",
		Quick: true,
		Setup: `sed -i 's/^LogLevel.*/LogLevel info/' /etc/apache2/apache2.conf
`,
		Ways: []Way{
			{What: "a path that leads out", Script: `printf 'GET /cgi-bin/.%%2e/.%%2e/bin/sh HTTP/1.0\r\n\r\n' | nc -w 5 $SERVER 80`},
			{What: "a request that is too long", Script: get + `"http://$AT/$(head -c 9000 /dev/zero | tr '\0' a)"`},
			{What: "another path that leads out", Script: get + `--path-as-is http://$AT/../../etc/passwd`},
			{What: "a name that is too long", Script: get + `"http://$AT/$(head -c 300 /dev/zero | tr '\0' a)"`},
		},
	})
	_ = apache(Animal{
		Name:     "apache-modsecurity",
		Packages: []string{"libapache2-mod-security2"},
		Setup: `cp /etc/modsecurity/modsecurity.conf-recommended /etc/modsecurity/modsecurity.conf
sed -i 's/^SecRuleEngine.*/SecRuleEngine On/' /etc/modsecurity/modsecurity.conf
echo 'SecRule ARGS "@contains union select" "id:1000,phase:2,deny,status:403"' >/etc/modsecurity/zoo.conf
`,
		Ways: []Way{
			{What: "denied by a rule", Script: get + `"http://$AT/?q=1+union+select+2"`, Times: 2},
		},
	})
)

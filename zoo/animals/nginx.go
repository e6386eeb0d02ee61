package animals

// nginxSetup has a site with a password, a limit, and what is nobody's business.
const nginxSetup = `
rm -f /etc/nginx/sites-enabled/* /etc/nginx/modules-enabled/*
cat >/etc/nginx/conf.d/zoo.conf <<'X'
limit_req_zone $binary_remote_addr zone=one:1m rate=1r/m;
server {
	listen 80;
	listen [::]:80;
	server_name www.example.org;
	root /srv/www;
	location /private { auth_basic "p"; auth_basic_user_file /etc/nginx/htpasswd; }
	location /slow { limit_req zone=one; }
	location /secret { deny all; }
}
X
echo "alice:$(openssl passwd -apr1 right)" >/etc/nginx/htpasswd
echo "bob:$(openssl passwd -apr1 right)" >>/etc/nginx/htpasswd
mkdir -p /srv/www/private /srv/www/slow /srv/www/empty
echo hello | tee /srv/www/index.html /srv/www/private/index.html >/srv/www/slow/index.html
`

const get = `curl -sS -o /dev/null -w '%{http_code}\n' `

// nginx is an animal whose service is nginx, as nginxSetup has it.
func nginx(a Animal) Animal {
	a.Packages, a.Setup, a.Start, a.Port, a.Success = []string{"nginx"}, nginxSetup, `nginx`, 80, `curl -sSf http://$AT/`
	return a
}

var nginxBots = []Way{
	{What: "what bots look for", Script: get + `http://$AT/phpmyadmin/index.php http://$AT/wp-login.php http://$AT/.env`, Counts: 3},
	{What: "what people mistype", Script: get + `http://$AT/favicon.ico`, Uncounted: true},
}

var (
	_ = add(Animal{
		Name:     "nginx-http-auth",
		Quick:    true,
		OverIPv6: true,
		Packages: []string{"nginx"},
		Setup:    nginxSetup,
		Start:    `nginx`,
		Port:     80,
		Log:      "/var/log/nginx/error.log",
		Success:  `curl -sSf -u alice:right http://$AT/private/`,
		Ways: []Way{
			{What: "wrong password", Script: get + `-u bob:wrong http://$AT/private/`, Times: 2},
			{What: "unknown user", Script: get + `-u nobody-here:wrong http://$AT/private/`, Times: 2},
		},
	})
	_ = add(nginx(Animal{
		Name:  "nginx-limit-req",
		Quick: true,
		Log:   "/var/log/nginx/error.log",
		Ways: []Way{
			{What: "the first is let through", Script: get + `http://$AT/slow/`, Uncounted: true},
			{What: "too many requests", Script: get + `http://$AT/slow/`, Times: 3},
		},
	}))
	_ = add(nginx(Animal{
		Name:  "nginx-botsearch",
		Quick: true,
		Log:   "/var/log/nginx/access.log",
		Ways:  nginxBots,
	}))
	_ = add(nginx(Animal{
		Name:   "nginx-botsearch-error",
		Filter: "nginx-botsearch",
		Log:    "/var/log/nginx/error.log",
		Ways:   nginxBots,
	}))
	_ = add(nginx(Animal{
		Name:  "nginx-bad-request",
		Quick: true,
		Log:   "/var/log/nginx/access.log",
		Ways: []Way{
			{What: "TLS to a port without", Script: `curl -sk https://$AT:80/`},
			{What: "no HTTP at all", Script: `printf 'EHLO x\r\n\r\n' | nc -w 5 $SERVER 80`, Times: 2},
			{What: "a request without a host", Script: `printf 'GET / HTTP/1.1\r\n\r\n' | nc -w 5 $SERVER 80`},
		},
	}))
	_ = add(nginx(Animal{
		Name:  "nginx-forbidden",
		Quick: true,
		Log:   "/var/log/nginx/error.log",
		Ways: []Way{
			{What: "forbidden by rule", Script: get + `http://$AT/secret/x`, Times: 2},
			{What: "a directory without index", Script: get + `http://$AT/empty/`},
		},
	}))
)

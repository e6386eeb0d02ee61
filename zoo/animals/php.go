package animals

// phpStart starts what the PHP programs need beside Apache.
const mariaStart = `mkdir -p /run/mysqld; chown mysql /run/mysqld
mariadbd --user=mysql --bind-address=127.0.0.1 &
for i in $(seq 300); do mariadb-admin ping >/dev/null 2>&1 && break; sleep 0.1; done
`

// tryWays are those of services that /tmp/try logs in to.
var tryWays = []Way{
	{What: "wrong password", Script: `sh /tmp/try alice wrong`, Times: 2},
	{What: "unknown user", Script: `sh /tmp/try nobody-here wrong`},
}

var (
	_ = add(Animal{
		Name:     "wordpress",
		Root:     "php",
		Fail2ban: "-",
		Packages: []string{"wordpress", "apache2", "libapache2-mod-php", "php-mysql", "mariadb-server", "phpmyadmin", "roundcube-core", "roundcube-sqlite3", "dovecot-imapd"},
		// There is no plugin in Debian that logs failed logins: this one of ours writes the
		// lines of the one that people use, WP fail2ban.
		Setup: `cat >/etc/wordpress/config-default.php <<'X'
<?php
define('DB_NAME', 'wordpress'); define('DB_USER', 'wordpress'); define('DB_PASSWORD', 'x'); define('DB_HOST', 'localhost');
define('WP_CONTENT_DIR', '/var/lib/wordpress/wp-content'); define('WP_HTTP_BLOCK_EXTERNAL', true); define('DISABLE_WP_CRON', true);
define('WP_HOME', 'http://' . $_SERVER['HTTP_HOST']); define('WP_SITEURL', 'http://' . $_SERVER['HTTP_HOST']);
X
mkdir -p /var/lib/wordpress/wp-content/mu-plugins
cat >/var/lib/wordpress/wp-content/mu-plugins/zoo.php <<'X'
<?php
openlog('wordpress(www.example.org)', LOG_NDELAY | LOG_PID, LOG_AUTH);
add_action('wp_login_failed', function ($user) {
	$what = get_user_by('login', $user) ? 'failure for ' : 'attempt for unknown user ';
	syslog(LOG_NOTICE, 'Authentication ' . $what . $user . ' from ' . $_SERVER['REMOTE_ADDR']);
});
add_action('wp_login', function ($user) { syslog(LOG_INFO, 'Accepted password for ' . $user . ' from ' . $_SERVER['REMOTE_ADDR']); });
X
cat >/etc/apache2/sites-enabled/000-default.conf <<'X'
<VirtualHost *:80>
	DocumentRoot /usr/share/wordpress
</VirtualHost>
X
cat >/tmp/try <<'X'
rm -f /tmp/jar.$$
curl -sS -c /tmp/jar.$$ -o /dev/null http://$AT/wp-login.php
curl -sS -b /tmp/jar.$$ -c /tmp/jar.$$ -o /tmp/said.$$ -w '%{http_code}\n' -d log=$1 -d pwd=$2 -d testcookie=1 http://$AT/wp-login.php | grep -q 302
X
`,
		Start: syslog + mariaStart + `mariadb -e "create database wordpress; create user wordpress@localhost identified by 'x'; grant all on wordpress.* to wordpress@localhost"
apachectl start
curl -sS -o /tmp/install.html -d weblog_title=t -d user_name=alice -d admin_password=right -d admin_password2=right -d pw_weak=1 -d admin_email=a@example.org -d blog_public=0 'http://127.0.0.1/wp-admin/install.php?step=2'
touch /tmp/ready
`,
		Ready:   `[ -e /tmp/ready ]`,
		Port:    80,
		Log:     "/var/log/auth.log",
		Success: `sh /tmp/try alice right`,
		Ways:    tryWays,
	})
	_ = add(Animal{
		Name:     "phpmyadmin",
		Root:     "php",
		Fail2ban: "phpmyadmin-syslog",
		Packages: []string{"phpmyadmin"},
		Setup: `cat >/etc/phpmyadmin/conf.d/zoo.php <<'X'
<?php
$cfg['AuthLog'] = 'syslog';
$cfg['AuthLogSuccess'] = true;
$cfg['blowfish_secret'] = '01234567890123456789012345678901';
$cfg['Servers'][1]['auth_type'] = 'cookie';
$cfg['Servers'][1]['host'] = '127.0.0.1';
$cfg['Servers'][1]['controluser'] = '';
$cfg['Servers'][1]['pmadb'] = '';
X
ln -sf /etc/phpmyadmin/apache.conf /etc/apache2/conf-enabled/phpmyadmin.conf
cat >/tmp/try <<'X'
rm -f /tmp/jar.$$
token=$(curl -sS -c /tmp/jar.$$ http://$AT/phpmyadmin/index.php | sed -n 's/.*name="token" value="\([^"]*\)".*/\1/p' | head -1)
curl -sS -b /tmp/jar.$$ -c /tmp/jar.$$ -o /tmp/said.$$ -w '%{http_code}\n' -d server=1 --data-urlencode "token=$token" --data-urlencode "set_session=$(sed -n 's/.*phpMyAdmin\t//p' /tmp/jar.$$)" -d pma_username=$1 -d pma_password=$2 http://$AT/phpmyadmin/index.php | grep -q 302
X
`,
		Start: syslog + mariaStart + `mariadb -e "create user alice@'%' identified by 'right'; create user alice@localhost identified by 'right'"
apachectl start
touch /tmp/ready
`,
		Ready:   `[ -e /tmp/ready ]`,
		Port:    80,
		Log:     "/var/log/auth.log",
		Success: `sh /tmp/try alice right`,
		Ways:    tryWays,
	})
	_ = add(Animal{
		Name:     "roundcube-auth",
		Root:     "php",
		Packages: []string{"roundcube-core"},
		Setup: dovecotSetup + `
cat >>/etc/roundcube/config.inc.php <<'X'
$config['imap_host'] = 'localhost:143'; $config['default_host'] = 'localhost'; $config['default_port'] = 143;
$config['db_dsnw'] = 'sqlite:////var/lib/roundcube/zoo.db?mode=0646';
$config['log_driver'] = 'file'; $config['log_logins'] = true; $config['log_dir'] = '/var/log/roundcube/';
$config['ip_check'] = false; $config['login_rate_limit'] = 0; $config['auto_create_user'] = true; $config['smtp_host'] = '';
X
php -r '$d = new PDO("sqlite:/var/lib/roundcube/zoo.db"); $d->exec(file_get_contents("/usr/share/roundcube/SQL/sqlite.initial.sql"));' ||
	php -r '$d = new PDO("sqlite:/var/lib/roundcube/zoo.db"); $d->exec(file_get_contents("/usr/share/dbconfig-common/data/roundcube/install/sqlite3"));'
chown -R www-data /var/lib/roundcube /var/log/roundcube
cat >/etc/apache2/sites-enabled/000-default.conf <<'X'
<VirtualHost *:80>
	DocumentRoot /var/lib/roundcube/public_html
	<Directory /var/lib/roundcube/public_html>
		Require all granted
		Options FollowSymLinks
	</Directory>
</VirtualHost>
X
[ -d /var/lib/roundcube/public_html ] || sed -i 's#/var/lib/roundcube/public_html#/var/lib/roundcube#' /etc/apache2/sites-enabled/000-default.conf
cat >/tmp/try <<'X'
rm -f /tmp/jar.$$
token=$(curl -sSL -c /tmp/jar.$$ http://$AT/ | sed -n 's/.*name="_token" value="\([^"]*\)".*/\1/p' | head -1)
curl -sS -b /tmp/jar.$$ -c /tmp/jar.$$ -o /tmp/said.$$ -w '%{http_code}\n' -d _task=login -d _action=login -d _timezone=UTC --data-urlencode "_token=$token" -d _user=$1 -d _pass=$2 "http://$AT/?_task=login" | grep -q 302
X
`,
		Start: syslog + `dovecot
apachectl start
touch /tmp/ready
`,
		Ready:   `[ -e /tmp/ready ]`,
		Port:    80,
		Log:     "/var/log/roundcube/errors.log",
		Success: `sh /tmp/try alice right`,
		Ways: []Way{
			{What: "wrong password", Script: `sh /tmp/try bob wrong`, Times: 2},
			{What: "unknown user", Script: `sh /tmp/try nobody-here wrong`},
		},
	})
)

package animals

// SOGo stands behind Apache, as its package has it, which tells it the client's address.
var _ = add(Animal{
	Name:     "sogo-auth",
	Root:     "sogo",
	Packages: []string{"sogo", "mariadb-server", "mariadb-client", "apache2", "memcached"},
	Setup: `cat >/etc/sogo/sogo.conf <<'X'
{
	SOGoProfileURL = "mysql://sogo:x@127.0.0.1:3306/sogo/sogo_user_profile";
	OCSFolderInfoURL = "mysql://sogo:x@127.0.0.1:3306/sogo/sogo_folder_info";
	OCSSessionsFolderURL = "mysql://sogo:x@127.0.0.1:3306/sogo/sogo_sessions_folder";
	SOGoUserSources = ({
		type = sql; id = users; viewURL = "mysql://sogo:x@127.0.0.1:3306/sogo/users";
		canAuthenticate = YES; isAddressBook = NO; userPasswordAlgorithm = plain;
	});
	SOGoTimeZone = UTC;
	SOGoMemcachedHost = "127.0.0.1";
	WOWorkersCount = 1;
}
X
cat >/tmp/users.sql <<'X'
create database sogo;
create user sogo@'127.0.0.1' identified by 'x';
grant all on sogo.* to sogo@'127.0.0.1';
create user sogo@localhost identified by 'x';
grant all on sogo.* to sogo@localhost;
create table sogo.users (c_uid varchar(60) primary key, c_name varchar(60), c_password varchar(60), c_cn varchar(60), mail varchar(60));
insert into sogo.users values ('alice', 'alice', 'right', 'Alice', 'alice@example.org'), ('bob', 'bob', 'right', 'Bob', 'bob@example.org');
X
a2enmod -q proxy proxy_http headers rewrite >/dev/null
cat >/etc/apache2/conf-enabled/zoo.conf <<'X'
ServerName www.example.org
ProxyPass /SOGo http://127.0.0.1:20000/SOGo retry=0
RequestHeader set "x-webobjects-server-port" "80"
RequestHeader set "x-webobjects-server-name" "www.example.org"
RequestHeader set "x-webobjects-server-url" "http://www.example.org"
X
mkdir -p /run/sogo /var/log/sogo /var/spool/sogo; chown sogo /run/sogo /var/log/sogo /var/spool/sogo
cat >/tmp/try <<'X'
curl -sSf -o /tmp/said.$$ -H 'Content-Type: application/json' -d "{\"userName\": \"$1\", \"password\": \"$2\"}" http://$AT/SOGo/connect
X
`,
	Start: mariaStart + `mariadb </tmp/users.sql
memcached -u nobody -d
cd /var/lib/sogo 2>/dev/null || cd /tmp
setpriv --reuid sogo --regid sogo --clear-groups env HOME=/var/lib/sogo /usr/sbin/sogod -WOPidFile /run/sogo/sogo.pid -WOLogFile /var/log/sogo/sogo.log -WOWorkersCount 1
apachectl start
`,
	Ready:   `curl -sS -o /dev/null http://127.0.0.1:20000/SOGo/`,
	Port:    80,
	Log:     "/var/log/sogo/sogo.log",
	Success: `sh /tmp/try alice right`,
	Ways: []Way{
		{What: "wrong password", Script: `sh /tmp/try bob wrong`, Times: 2},
		{What: "unknown user", Script: `sh /tmp/try nobody-here wrong`},
	},
})

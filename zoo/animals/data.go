package animals

const mosquittoBlind = "Mosquitto 2.0 writes the address in one line and the refusal in another, and nothing says that they belong together"

var (
	_ = add(Animal{
		Name:     "mosquitto",
		Suites:   []string{Bookworm, Trixie, Sid},
		Blind:    map[string]string{Bookworm: mosquittoBlind, Trixie: mosquittoBlind},
		Fail2ban: "-",
		Packages: []string{"mosquitto", "mosquitto-clients"},
		Setup: `cat >/etc/mosquitto/conf.d/zoo.conf <<'X'
listener 1883
allow_anonymous false
password_file /etc/mosquitto/passwd
X
touch /etc/mosquitto/passwd
for u in alice bob; do mosquitto_passwd -b /etc/mosquitto/passwd $u right; done
chown mosquitto /etc/mosquitto/passwd
mkdir -p /run/mosquitto; chown mosquitto /run/mosquitto
`,
		Start:   `mosquitto -d -c /etc/mosquitto/mosquitto.conf`,
		Port:    1883,
		Log:     "/var/log/mosquitto/mosquitto.log",
		Success: `mosquitto_pub -h $SERVER -u alice -P right -t a -m b`,
		Ways: []Way{
			{What: "wrong password", Script: `mosquitto_pub -h $SERVER -u bob -P wrong -t a -m b`, Times: 2},
			{What: "unknown user", Script: `mosquitto_pub -h $SERVER -u nobody-here -P wrong -t a -m b`},
			{What: "no user", Script: `mosquitto_pub -h $SERVER -t a -m b`},
		},
	})
	_ = add(Animal{
		Name:     "mysqld-auth",
		OverIPv6: true,
		Packages: []string{"mariadb-server", "mariadb-client"},
		Setup: `cat >/etc/mysql/mariadb.conf.d/99-zoo.cnf <<'X'
[mysqld]
bind-address = *
log_warnings = 2
log_error = /var/log/mysql/error.log
skip-name-resolve
skip-ssl
X
mkdir -p /run/mysqld; chown mysql /run/mysqld
cat >/tmp/users.sql <<X
CREATE USER alice@'%' IDENTIFIED BY 'right';
CREATE USER bob@'%' IDENTIFIED BY 'right';
X
chmod 644 /tmp/users.sql
`,
		Start:   `mariadbd --user=mysql --init-file=/tmp/users.sql`,
		Port:    3306,
		Log:     "/var/log/mysql/error.log",
		Success: `mariadb --skip-ssl -h $SERVER -u alice -pright -e 'select 1'`,
		Ways: []Way{
			{What: "wrong password", Script: `mariadb --skip-ssl -h $SERVER -u bob -pwrong -e 'select 1'`, Times: 2},
			{What: "unknown user", Script: `mariadb --skip-ssl -h $SERVER -u nobody-here -pwrong -e 'select 1'`},
			{What: "no password", Script: `mariadb --skip-ssl -h $SERVER -u bob -e 'select 1'`},
			{What: "a database of somebody else's, of which MariaDB tells the account's host only", Script: `mariadb --skip-ssl -h $SERVER -u bob -pright -e 'select 1' mysql`, Uncounted: true},
		},
	})
	_ = add(Animal{
		Name:     "postgresql",
		OverIPv6: true,
		Fail2ban: "-",
		Packages: []string{"postgresql", "postgresql-client"},
		Setup: `cd /etc/postgresql/*/main
cat >conf.d/zoo.conf <<'X'
listen_addresses = '*'
log_line_prefix = '%m [%p] %q%u@%d %h '
ssl = off
log_destination = 'stderr'
fsync = off
X
echo 'host all alice,bob,nobody all scram-sha-256' >>pg_hba.conf
sed -i 's/main/main/' start.conf; echo auto >start.conf
pg_ctlcluster $(ls /etc/postgresql) main start
su postgres -c "psql -c \"create user alice password 'right'\" -c \"create user bob password 'right'\""
pg_ctlcluster $(ls /etc/postgresql) main stop
ln -s postgresql-$(ls /etc/postgresql)-main.log /var/log/postgresql/postgresql-main.log
`,
		Start:   `pg_ctlcluster $(ls /etc/postgresql) main start`,
		Port:    5432,
		Log:     "/var/log/postgresql/postgresql-main.log",
		Success: `PGPASSWORD=right psql -h $SERVER -U alice postgres -c 'select 1'`,
		Ways: []Way{
			{What: "wrong password", Script: `PGPASSWORD=wrong psql -h $SERVER -U bob postgres -c 'select 1'`, Times: 2},
			{What: "unknown user", Script: `PGPASSWORD=wrong psql -h $SERVER -U nobody postgres -c 'select 1'`},
			{What: "not in pg_hba.conf", Script: `PGPASSWORD=wrong psql -h $SERVER -U postgres postgres -c 'select 1'`},
			{What: "unknown database", Script: `PGPASSWORD=right psql -h $SERVER -U bob nodb -c 'select 1'`},
		},
	})
	_ = add(Animal{
		Name:     "redis",
		Blind:    map[string]string{Bookworm: "Redis 7.0 does not write the address into a log of the usual level"},
		Fail2ban: "-",
		Packages: []string{"redis-server", "redis-tools"},
		Setup:    `sed -i 's/^bind .*/bind 0.0.0.0/; s/^protected-mode.*/protected-mode no/; s/^daemonize.*/daemonize no/' /etc/redis/redis.conf; mkdir -p /run/redis; chown redis /run/redis`,
		Start:    `setpriv --reuid redis --regid redis --clear-groups redis-server /etc/redis/redis.conf`,
		Port:     6379,
		Log:      "/var/log/redis/redis-server.log",
		Success:  `redis-cli -h $SERVER ping`,
		Ways: []Way{
			{What: "a browser that was sent here", Script: `printf 'POST / HTTP/1.1\r\nHost: x\r\n\r\n' | nc -w 5 $SERVER 6379`},
		},
	})
	_ = add(Animal{
		Name:      "slapd",
		OverIPv6:  true,
		InJournal: "SYSLOG_IDENTIFIER=slapd",
		Packages:  []string{"slapd", "ldap-utils"},
		Setup: `cat >/tmp/slapd.conf <<'X'
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile /tmp/slapd.pid
loglevel stats
database mdb
maxsize 10000000
suffix dc=example,dc=org
rootdn cn=alice,dc=example,dc=org
rootpw right
directory /var/lib/ldap-zoo
X
mkdir -p /var/lib/ldap-zoo
`,
		Start:   syslog + `slapd -f /tmp/slapd.conf -h ldap:///`,
		Port:    389,
		Log:     "/var/log/syslog",
		Success: `ldapwhoami -x -H ldap://$AT -D cn=alice,dc=example,dc=org -w right`,
		Ways: []Way{
			{What: "wrong password", Script: `ldapwhoami -x -H ldap://$AT -D cn=alice,dc=example,dc=org -w wrong`, Times: 2},
			{What: "unknown name", Script: `ldapwhoami -x -H ldap://$AT -D cn=nobody,dc=example,dc=org -w wrong`},
		},
	})
)

package animals

// Gitea is not in Debian: scripts/gitea builds it.
var _ = add(Animal{
	Name:     "gitea",
	Root:     "gitea",
	Fail2ban: "-",
	Packages: []string{"git"},
	Copy:     map[string]string{"tmp/gitea": "/usr/local/gitea"},
	Version:  `/usr/local/gitea/gitea --version | sed 's/^[Gg]itea version \([^ ]*\).*/gitea \1/'`,
	Setup: `useradd -r -m git
mkdir -p /var/lib/gitea/log /var/lib/gitea/repositories
cat >/etc/gitea.ini <<'X'
RUN_USER = git
RUN_MODE = prod
WORK_PATH = /var/lib/gitea
[server]
STATIC_ROOT_PATH = /usr/local/gitea
HTTP_ADDR = 0.0.0.0
HTTP_PORT = 3000
ROOT_URL = http://www.example.org/
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = /var/lib/gitea/gitea.db
[security]
INSTALL_LOCK = true
SECRET_KEY = of-this-run-only
PASSWORD_HASH_ALGO = pbkdf2$1000$50
MIN_PASSWORD_LENGTH = 5
PASSWORD_COMPLEXITY = off
[log]
MODE = file
LEVEL = Info
ROOT_PATH = /var/lib/gitea/log
[mailer]
ENABLED = false
X
chown -R git /var/lib/gitea /etc/gitea.ini
cat >/tmp/as-git <<'X'
cd /var/lib/gitea; exec setpriv --reuid git --regid git --clear-groups env HOME=/home/git USER=git GITEA_WORK_DIR=/var/lib/gitea /usr/local/gitea/gitea --config /etc/gitea.ini "$@"
X
sh /tmp/as-git migrate
for u in alice bob; do sh /tmp/as-git admin user create --username $u --password right --email $u@example.org --must-change-password=false; done
: >/var/lib/gitea/log/gitea.log; chown git /var/lib/gitea/log/gitea.log
`,
	Start:   `exec sh /tmp/as-git web`,
	Ready:   `curl -sSf -o /dev/null http://127.0.0.1:3000/api/v1/version`,
	Port:    3000,
	Log:     "/var/lib/gitea/log/gitea.log",
	Success: `curl -sSf -u alice:right http://$AT:3000/api/v1/user`,
	Ways: []Way{
		// Of these Gitea tells the address as of each request only, and one without a password,
		// with which git begins, is answered the same.
		{What: "wrong password, API", Script: get + `-u bob:wrong http://$AT:3000/api/v1/user`, Uncounted: true},
		{What: "wrong password, git", Script: get + `-u bob:wrong "http://$AT:3000/alice/x.git/info/refs?service=git-upload-pack"`, Uncounted: true},
		{What: "unknown user, API", Script: get + `-u nobody-here:wrong http://$AT:3000/api/v1/user`, Uncounted: true},
		{What: "a token that is none, API", Script: get + `-H "Authorization: token 0123456789012345678901234567890123456789" http://$AT:3000/api/v1/user`, Uncounted: true},
		{What: "wrong password", Script: get + `-d user_name=bob -d password=wrong http://$AT:3000/user/login`, Times: 2},
		{What: "unknown user", Script: get + `-d user_name=nobody-here -d password=wrong http://$AT:3000/user/login`},
	},
})

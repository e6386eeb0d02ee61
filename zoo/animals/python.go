package animals

// djangoClient logs in to Django's admin: login.py USER PASSWORD [TOKEN].
const djangoClient = `cat >/tmp/login.py <<'X'
import http.cookiejar, os, re, sys, urllib.parse, urllib.request
url = "http://" + os.environ["AT"] + "/admin/login/?next=/admin/"
jar = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(secure_protocols=("http", "https")))
o = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
page = o.open(url).read().decode()
form = {"username": sys.argv[1], "password": sys.argv[2], "csrfmiddlewaretoken": re.search('csrfmiddlewaretoken" value="([^"]*)"', page).group(1)}
if len(sys.argv) > 3:
	form["otp_token"] = sys.argv[3]
try:
	answer = o.open(urllib.request.Request(url, urllib.parse.urlencode(form).encode(), {"Referer": url}))
except urllib.error.HTTPError as e:
	print(e)
	sys.exit(1)
sys.exit(0 if answer.geturl().endswith("/admin/") else 1)
X
`

const djangoSetup = djangoClient + `mkdir -p /var/lib/mysite /var/log/django
cat >/tmp/env <<X
export PYTHONPATH=/srv/django MYSITE_DATA=/var/lib/mysite MYSITE_AUTH_LOG=/var/log/django/auth.log MYSITE_AXES_LOG=/var/log/django/axes.log
export MYSITE_HOSTS='*' MYSITE_SECRET_KEY=of-this-run-only DJANGO_SUPERUSER_PASSWORD=right DJANGO_SETTINGS_MODULE=$DJANGO
X
. /tmp/env
cd /srv/django
python3 manage.py migrate --verbosity 0
python3 manage.py createsuperuser --noinput --username alice --email alice@example.org
python3 manage.py createsuperuser --noinput --username bob --email bob@example.org
`

const djangoStart = `. /tmp/env
cd /srv/django
exec gunicorn --bind 0.0.0.0:80 mysite.wsgi
`

func django(a Animal) struct{} {
	a.Fail2ban = "-"
	a.Packages = []string{"python3-django", "gunicorn", "python3-django-axes", "python3-django-otp"}
	a.Copy = map[string]string{"examples/django": "/srv/django"}
	a.Start = djangoStart
	a.Port = 80
	return add(a)
}

var (
	_ = django(Animal{
		Name:    "django-auth",
		Setup:   "DJANGO=mysite.settings\n" + djangoSetup,
		Log:     "/var/log/django/auth.log",
		Success: `python3 /tmp/login.py alice right`,
		Ways: []Way{
			{What: "wrong password", Script: `python3 /tmp/login.py bob wrong`, Times: 2},
			{What: "unknown user", Script: `python3 /tmp/login.py nobody-here wrong`, Times: 2},
		},
	})
	_ = django(Animal{
		Name: "django-axes",
		Setup: "DJANGO=mysite.settings_axes\n" + djangoSetup + `
python3 manage.py shell -c "from django.contrib.auth.models import User; User.objects.get(username='alice').staticdevice_set.create(name='x').token_set.create(token='123456'); User.objects.get(username='alice').staticdevice_set.get().token_set.create(token='123456')"
`,
		Log:     "/var/log/django/axes.log",
		Success: `python3 /tmp/login.py alice right 123456`,
		Ways: []Way{
			{What: "the third wrong password locks out", Script: `for i in 1 2 3; do python3 /tmp/login.py bob wrong 1 || :; done`},
		},
	})
	_ = django(Animal{
		Name: "django-otp",
		Setup: "DJANGO=mysite.settings_axes\n" + djangoSetup + `
python3 manage.py shell -c "from django.contrib.auth.models import User; from django_otp.plugins.otp_static.models import StaticDevice; [u.staticdevice_set.create(name='x') for u in User.objects.all()]; [d.token_set.create(token='123456') for d in StaticDevice.objects.all() for _ in range(3)]"
`,
		Log:     "/var/log/django/auth.log",
		Success: `python3 /tmp/login.py alice right 123456`,
		Ways: []Way{
			{What: "right password, wrong second factor", Script: `python3 /tmp/login.py bob right 654321`},
		},
	})
	_ = add(Animal{
		Name:     "flask",
		Fail2ban: "-",
		Packages: []string{"python3-flask", "gunicorn"},
		Setup: `mkdir -p /srv/flask /var/log/gunicorn
cat >/srv/flask/app.py <<'X'
from flask import Flask, abort, request
app = Flask(__name__)
@app.post("/login")
def login():
    if request.form.get("password") != "right":
        abort(401)
    return "hello"
X
`,
		Start:   `cd /srv/flask; exec gunicorn --bind 0.0.0.0:80 --access-logfile /var/log/gunicorn/access.log app:app`,
		Port:    80,
		Log:     "/var/log/gunicorn/access.log",
		Success: `curl -sSf -d user=alice -d password=right http://$AT/login`,
		Ways: []Way{
			{What: "wrong password", Script: get + `-d user=bob -d password=wrong http://$AT/login`, Times: 3},
		},
	})
	_ = add(Animal{
		Name:     "flask-werkzeug",
		Filter:   "flask",
		Fail2ban: "-",
		Packages: []string{"python3-flask"},
		Setup: `mkdir -p /srv/flask
cat >/srv/flask/app.py <<'X'
from flask import Flask, abort, request
app = Flask(__name__)
@app.post("/login")
def login():
    if request.form.get("password") != "right":
        abort(401)
    return "hello"
X
`,
		Start:   `cd /srv/flask; exec python3 -m flask run --host 0.0.0.0 --port 80 >>/var/log/flask.log 2>&1`,
		Port:    80,
		Log:     "/var/log/flask.log",
		Success: `curl -sSf -d user=alice -d password=right http://$AT/login`,
		Ways: []Way{
			{What: "wrong password", Script: get + `-d user=bob -d password=wrong http://$AT/login`, Times: 3},
		},
	})
)

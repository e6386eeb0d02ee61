"""A Django project with nothing but its admin, and a log of failed logins."""
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

# Where things lie that change: the database and the secret key.
DATA_DIR = Path(os.environ.get("MYSITE_DATA", BASE_DIR / "data"))

# The log that bailiff follows.
AUTH_LOG = os.environ.get("MYSITE_AUTH_LOG", "/var/log/django/auth.log")

# Requests from these addresses come from our own nginx, so their X-Real-IP can
# be believed. Nobody else's can: a client may send any header it likes.
TRUSTED_PROXIES = {"127.0.0.1", "::1"}

SECRET_KEY = os.environ["MYSITE_SECRET_KEY"]
DEBUG = False
ALLOWED_HOSTS = os.environ.get("MYSITE_HOSTS", "localhost").split(",")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "mysite.apps.LoginFailures",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

# Where there is no firewall to command: mysite/banned.py asks bailiff who is banned.
BAILIFF_SOCKET = os.environ.get("MYSITE_BAILIFF_SOCKET")
if BAILIFF_SOCKET:
    MIDDLEWARE.insert(0, "mysite.banned.Banned")

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATA_DIR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"auth": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {
        "auth": {
            # Opens the file anew when logrotate has moved it away.
            "class": "logging.handlers.WatchedFileHandler",
            "filename": AUTH_LOG,
            "formatter": "auth",
        },
    },
    "loggers": {"mysite.auth": {"handlers": ["auth"], "level": "INFO", "propagate": False}},
}

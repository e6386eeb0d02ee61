"""The same project with django-axes, which locks out by itself, and with a second
factor. DJANGO_SETTINGS_MODULE=mysite.settings_axes"""
from datetime import timedelta

from .settings import *  # noqa: F401,F403
from .settings import INSTALLED_APPS, LOGGING, MIDDLEWARE, os

AXES_LOG = os.environ.get("MYSITE_AXES_LOG", "/var/log/django/axes.log")

INSTALLED_APPS = INSTALLED_APPS + ["axes", "django_otp", "django_otp.plugins.otp_static", "django_otp.plugins.otp_totp"]
MIDDLEWARE = MIDDLEWARE + ["django_otp.middleware.OTPMiddleware", "axes.middleware.AxesMiddleware"]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesBackend", "django.contrib.auth.backends.ModelBackend"]
ROOT_URLCONF = "mysite.urls_axes"

AXES_FAILURE_LIMIT = 3
# As long as bailiff's ban of such an address (bailiff/jails/django-axes.toml).
AXES_COOLOFF_TIME = timedelta(seconds=int(os.environ.get("MYSITE_BANTIME", 3600)))
# The client's address, as our own nginx has put it there (nginx.conf).
AXES_META_PRECEDENCE_ORDER = ["HTTP_X_REAL_IP", "REMOTE_ADDR"]
# Only the address in the log: a user name or a browser's name could hold a text that
# looks like another one.
AXES_VERBOSE = False

LOGGING["handlers"]["axes"] = {
    "class": "logging.handlers.WatchedFileHandler",
    "filename": AXES_LOG,
    "formatter": "auth",
}
LOGGING["loggers"]["axes"] = {"handlers": ["axes"], "level": "WARNING", "propagate": False}

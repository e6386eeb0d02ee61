"""Django's admin answers a failed login with 200, so a web server's log does
not show it. Django itself knows, and sends a signal: write it to a log."""
import ipaddress
import logging

from django.conf import settings
from django.contrib.auth.signals import user_login_failed
from django.dispatch import receiver

logger = logging.getLogger("mysite.auth")


def client_address(request):
    """The address that the client connected from, as our own proxy saw it."""
    peer = request.META.get("REMOTE_ADDR", "")
    if peer not in settings.TRUSTED_PROXIES:
        return peer
    try:
        return str(ipaddress.ip_address(request.META.get("HTTP_X_REAL_IP", "")))
    except ValueError:
        return peer


@receiver(user_login_failed)
def log_failure(sender, credentials, request=None, **kwargs):
    # The user name stays out of the log: it is whatever the client sent, a line
    # that looks like somebody else's failure, too.
    if request is not None:
        logger.error("Login failure %s", client_address(request))

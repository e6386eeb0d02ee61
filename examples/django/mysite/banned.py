"""Where there is no firewall to command (a container, a PaaS): ask bailiff who is
banned, over its socket for those who may only ask ([read] in bailiff.toml)."""
import http.client
import ipaddress
import logging
import socket
import time

from django.conf import settings
from django.http import HttpResponseForbidden

from .signals import client_address


class Bailiff(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(1)
        self.sock.connect(settings.BAILIFF_SOCKET)


class Banned:
    """The middleware. The list is asked for once a second, at most."""

    def __init__(self, get_response):
        self.get_response, self.networks, self.asked = get_response, [], 0

    def __call__(self, request):
        if time.monotonic() - self.asked > 1:
            self.asked = time.monotonic()
            try:
                bailiff = Bailiff("bailiff")
                bailiff.request("GET", "/v1/bans?format=text")
                self.networks = [ipaddress.ip_network(line) for line in bailiff.getresponse().read().decode().split()]
            except OSError as e:  # nobody is shut out, and nobody locked out
                logging.getLogger("mysite.auth").error("bailiff does not answer: %s", e)
        address = ipaddress.ip_address(client_address(request))
        if any(address in network for network in self.networks):
            return HttpResponseForbidden("banned")
        return self.get_response(request)

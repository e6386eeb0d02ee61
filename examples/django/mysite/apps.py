"""Connects the log of failed logins."""
from django.apps import AppConfig


class LoginFailures(AppConfig):
    name = "mysite"

    def ready(self):
        from . import signals  # noqa: F401  (its receiver connects itself)

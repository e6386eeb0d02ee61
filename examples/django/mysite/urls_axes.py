"""The admin behind a second factor."""
import logging

from django.contrib import admin
from django.forms import ValidationError
from django.urls import path
from django_otp.admin import OTPAdminAuthenticationForm, OTPAdminSite

from .signals import client_address

logger = logging.getLogger("mysite.auth")


class SecondFactorForm(OTPAdminAuthenticationForm):
    def clean_otp(self, user):
        try:
            super().clean_otp(user)
        except ValidationError:
            # The password was right; django-otp itself tells nobody.
            if self.cleaned_data.get("otp_token"):
                logger.error("Second factor failure %s", client_address(self.request))
            raise


class SecondFactorSite(OTPAdminSite):
    login_form = SecondFactorForm


site = SecondFactorSite()
site._registry.update(admin.site._registry)
urlpatterns = [path("admin/", site.urls)]

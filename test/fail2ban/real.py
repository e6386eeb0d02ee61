#!/usr/bin/python3
"""fail2ban's own programs, by the name this file is called with, for the control.

They run on the clock of which BAILIFF_TEST_CLOCK tells how far it is off the machine's,
as ours do when they are built with testclock.
"""

import datetime
import os
import sys
import time

from fail2ban.server.mytime import MyTime

from shift import shift


def now():
    return time.time() + shift()


MyTime.time = staticmethod(now)
MyTime.gmtime = staticmethod(lambda: time.gmtime(now()))
MyTime.localtime = staticmethod(lambda x=None: time.localtime(now() if x is None else x))
MyTime.now = staticmethod(lambda: datetime.datetime.fromtimestamp(now()))

name = os.path.basename(sys.argv[0])
if name == "fail2ban-regex":
    from fail2ban.client.fail2banregex import exec_command_line
    exec_command_line()
elif name == "fail2ban-client":
    from fail2ban.client.fail2banclient import exec_command_line
    exec_command_line(sys.argv)
else:
    from fail2ban.client.fail2banserver import exec_command_line
    exec_command_line(sys.argv)

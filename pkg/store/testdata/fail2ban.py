"""The real fail2ban's database, to write one and to read ours.

    fail2ban.py write FILE LOG     bans and a log position
    fail2ban.py read FILE LOG      prints what it finds, as JSON
"""
import hashlib
import json
import logging
import sys
import time

sys.path.insert(0, "/usr/lib/python3/dist-packages")
logging.disable(logging.CRITICAL)
from fail2ban.server.database import Fail2BanDb
from fail2ban.server.filter import FileContainer
from fail2ban.server.ticket import FailTicket


class Jail:
    def __init__(self, name):
        self.name = name
        self.database = None
        self.actions = self

    def getBanTime(self):
        return 600


what, path, log = sys.argv[1:4]
db = Fail2BanDb(path)
jail = Jail("sshd")
now = int(time.time())
if what == "write":
    db.addJail(jail)
    for ip, ago, lasts, count in (
        ("192.0.2.7", 10, 600, 1), ("2001:db8::7", 20, -1, 3), ("192.0.2.8", 1000, 600, 2), ("203.0.113.0/24", 5, 3600, 1),
    ):
        t = FailTicket(ip, now - ago, ["a line of " + ip])
        t.setBanTime(lasts)
        t.setBanCount(count)
        db.addBan(jail, t)
    c = FileContainer(log, "utf-8")
    db.addLog(jail, c)
    c.setPos(int(sys.argv[4]))
    db.updateLog(jail, c)
else:
    bans = []
    for t in db.getCurrentBans(jail=jail, forbantime=-1, fromtime=now, correctBanTime=False):
        bans.append([str(t.getID()), int(t.getBanTime()), t.getBanCount(), t.getMatches()])
    pos = db.addLog(jail, FileContainer(log, "utf-8"))
    print(json.dumps({"bans": sorted(bans), "pos": pos, "jails": sorted(db.getJailNames())}))
db.close()

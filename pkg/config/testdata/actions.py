"""Tells, as JSON lines, which commands fail2ban would run for each action.

  actions.py TREE

Every jail of TREE has actions; they are started, an IPv4 and an IPv6 address are
banned, the former is unbanned, the latter's ban is prolonged, and they are
stopped. Nothing is run: each command is noted with the values of its variables,
and taken for done. Commands that hold "fail-once" fail the first time.
"""
import json, logging, sys

from fail2ban.client.jailsreader import JailsReader
from fail2ban.server import action as f2baction
from fail2ban.server.ipdns import DNSUtils
from fail2ban.server.mytime import MyTime
from fail2ban.server.server import Server
from fail2ban.server.ticket import FailTicket
from fail2ban.server.transmitter import Transmitter

logging.getLogger("fail2ban").setLevel(logging.CRITICAL + 1)
DNSUtils.setIPv6IsAllowed(True)  # whatever this machine has
MyTime.setTime(1764000001)
noted = []
failed = set()


def note(cmd, timeout=60, **_):
    if not cmd:
        return True
    text, values = (cmd[0], cmd[1:]) if isinstance(cmd, list) else (cmd, [])
    if values:
        head, _, text = text.partition("\n")
    noted.append({"text": text, "values": values, "timeout": timeout})
    if "fail-once" in text and text not in failed:
        failed.add(text)
        return False
    return True


f2baction.CommandAction.executeCmd = staticmethod(note)


def ticket(ip, at, failures, matches, user):
    t = FailTicket(ip, at, matches)
    t.setAttempt(failures)
    t.setData(user=user, fid=ip)
    return t


tree = JailsReader(force_enable=False, basedir=sys.argv[1])
tree.read()
tree.getOptions(None)
server = Server(daemon=False)
server._Server__asyncServer = None
transmitter = Transmitter(server)
for jail in sorted(tree._JailsReader__jails, key=lambda j: j.getName()):
    name = jail.getName()
    del noted[:]
    failed.clear()
    try:
        for cmd in jail.convert():
            if cmd[0] == "add" or cmd[0] in ("set", "multi-set") and cmd[2] in ("addaction", "action", "bantime"):
                code, answer = transmitter.proceed(list(cmd) if cmd[0] != "add" else ["add", name, "polling"])
                if code:
                    raise answer
        actions = server._Server__jails[name].actions
        for a in actions._actions.values():
            a.start()
        check = actions._Actions__checkBan
        v4 = ticket("192.0.2.7", 1764000000, 3, ["one <ip> $(x)", "two ; 'three'"], "bob`x`")
        v6 = ticket("2001:db8::7", 1764000000.5, 5, ["plain"], "alice")
        check([v4])
        check([v6])
        for t in actions.banManager:
            if t.getID() == "2001:db8::7":
                t.setBanTime(7200)
                t.setBanCount(2)
                actions._prolongBan(t)
        actions.removeBannedIP("192.0.2.7", db=False)
        actions._Actions__flushBan(stop=True)
        actions.stopActions()
        print(json.dumps({"jail": name, "commands": noted}))
    except Exception as e:
        print(json.dumps({"jail": name, "error": repr(e)}))

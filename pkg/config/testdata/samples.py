"""Runs a real fail2ban's filters on its own sample logs and prints what it makes
of every line, one JSON object each, in order.

    samples.py LIB CONFIG LOGS

LIB holds the package fail2ban/, CONFIG filter.d, LOGS the sample logs. Time
stands still at noon of 14 August 2005 in Zurich, as in fail2ban's own tests.

  {"filter", "opts": {..}, "n": line number, "line", "journal": bool,
   "failures": [{"id", "time", "regex", "groups": {..}, "matches": n}], "ignored": bool}
"""
import json
import logging
import os
import re
import sys
import time

lib, config, logs = sys.argv[1:4]
sys.path.insert(0, lib)
os.environ["TZ"] = "Europe/Zurich"
time.tzset()
NOW = 1124013600
logging.disable(logging.CRITICAL)

from fail2ban import version
from fail2ban.client.filterreader import FilterReader
from fail2ban.server.filter import Filter
from fail2ban.server.mytime import MyTime

MyTime.setTime(NOW)
INTERNAL = ("matches", "nofail-matches", "users", "mlfpending", "ip")


def plain(v):
    if isinstance(v, (set, frozenset, list, tuple)):
        return [plain(x) for x in v]
    return v if v is None or isinstance(v, (int, float, bool)) else str(v)


class Tested:
    """A filter with one set of options, and what it ignored last."""

    def __init__(self, name, opts):
        self.filter = Filter(None)
        self.filter.returnRawHost = True
        self.filter.checkFindTime = False
        self.filter.active = True
        self.ignored = False
        self.filter.onIgnoreRegex = self.on_ignore
        reader = FilterReader(name, "jail", dict(opts), basedir=config)
        if not reader.read():
            sys.exit("no filter %s in %s" % (name, config))
        reader.getOptions({})
        setters = {
            "maxlines": self.filter.setMaxLines, "datepattern": self.filter.setDatePattern,
            "addfailregex": self.filter.addFailRegex, "addignoreregex": self.filter.addIgnoreRegex,
            "prefregex": self.set_prefregex,
        }
        for command in reader.convert():
            for value in command[3] if command[0] == "multi-set" else [command[3]]:
                setters.get(command[2], lambda _: None)(value)

    def set_prefregex(self, value):
        self.filter.prefRegex = value

    def on_ignore(self, *_):
        self.ignored = True

    def run(self, line, journal):
        self.ignored = False
        if journal:
            found = self.filter.processLine(("", "2005-08-14T10:00:00", line), NOW)
        else:
            found = self.filter.processLine(line)
        return [{
            "id": plain(who), "time": when, "regex": index, "matches": len(fail.get("matches", [])),
            "groups": {k: plain(v) for k, v in fail.items() if k not in INTERNAL and v is not None},
        } for index, who, when, fail in found or []]


def applies(condition, name):
    try:
        return bool(eval(condition, {"fv": version, "v": version, "name": name, "sys": sys}))
    except Exception:
        return False


def sample_log(name):
    known, current, common, expected = {}, None, {}, False
    files = [name]
    while files:
        path = os.path.join(logs, files.pop(0))
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as log:
            text = log.readlines()
        for n, raw in enumerate(text, 1):
            order = re.match(r"^#+ ?(failJSON|(?:file|filter)Options|addFILE):(.+)$", raw)
            if order:
                what, value = order.group(1), json.loads(order.group(2))
                if what == "addFILE":
                    files.append(value)
                elif what == "fileOptions":
                    common = value
                elif what == "failJSON":
                    expected = value
                else:
                    current = []
                    for one in value if isinstance(value, list) else [value]:
                        one = dict(common, **one)
                        if "test.condition" in one and not applies(one["test.condition"], name):
                            continue
                        opts = {k: v for k, v in one.items() if not k.startswith("test.")}
                        current.append((opts, one))
                continue
            if expected is False and (current == [] or raw.startswith("#") or not raw.strip()):
                continue
            line, wanted, expected = raw.rstrip("\r\n"), expected, False
            for opts, one in [({}, {})] if current is None else current:
                if wanted and "constraint" in wanted and not applies(wanted["constraint"], name):
                    continue
                key = json.dumps(opts, sort_keys=True)
                if key not in known:
                    known[key] = Tested(name, opts)
                journal = one.get("logtype") == "journal"
                full = (one.get("test.prefix-line") or "") + line if journal else line
                failures = known[key].run(full, journal)
                print(json.dumps({
                    "filter": name, "opts": opts, "n": n, "line": full, "journal": journal,
                    "failures": failures, "ignored": known[key].ignored,
                }))


for file in sorted(os.listdir(os.path.join(config, "filter.d"))):
    name = file[:-5]
    if file.endswith(".conf") and not name.endswith("common") and os.path.isfile(os.path.join(logs, name)):
        sample_log(name)

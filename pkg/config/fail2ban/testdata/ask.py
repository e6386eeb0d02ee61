"""Asks the real fail2ban what it makes of a configuration: one JSON request a
line in, one JSON answer a line out.

  {"tree": DIR, "filter": NAME, "options": {..}}  the commands that set the filter up
  {"tree": DIR, "jails": true}                    the commands that set all jails up
"""
import json
import logging
import sys

logging.disable(logging.CRITICAL)


def plain(v):
    if isinstance(v, (set, frozenset)):
        return sorted(map(str, v))
    if isinstance(v, (list, tuple)):
        return [plain(x) for x in v]
    if v is None or isinstance(v, (int, float, bool, str)):
        return v
    return str(v)


def filter_commands(q):
    from fail2ban.client.filterreader import FilterReader
    reader = FilterReader(q["filter"], "jail", dict(q["options"]), basedir=q["tree"])
    if not reader.read():
        return {"error": "not read"}
    reader.getOptions({})
    return {"commands": plain(reader.convert())}


def jail_commands(q):
    from fail2ban.client.jailsreader import JailsReader
    reader = JailsReader(basedir=q["tree"], force_enable=q.get("force", False))
    reader.read()
    ok = reader.getOptions(ignoreWrong=True)
    return {"ok": bool(ok), "commands": plain(reader.convert(allow_no_files=True))}


for line in sys.stdin:
    question = json.loads(line)
    try:
        answer = (filter_commands if "filter" in question else jail_commands)(question)
    except Exception as e:
        answer = {"error": "%s: %s" % (type(e).__name__, e)}
    print(json.dumps(answer), flush=True)

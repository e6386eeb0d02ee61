"""Asks the real fail2ban for the dates of lines: one JSON request a line in,
one JSON answer a line out.

in:  {"patterns": [..] or null, "tz": ZONE, "zone": logtimezone or null,
      "now": EPOCH, "lines": [..]}
out: {"error": TEXT} or {"names": [template names], "dates": [[time or null,
      start, end, template] or null for each line]}; positions are in characters
"""
import json
import logging
import os
import sys
import time

logging.disable(logging.CRITICAL)
from fail2ban.server.datedetector import DateDetector
from fail2ban.server.mytime import MyTime


def answer(q):
    os.environ["TZ"] = q["tz"]
    time.tzset()
    MyTime.setTime(q["now"])
    time.time = lambda: q["now"]
    d = DateDetector()
    if q["zone"]:
        d.default_tz = q["zone"]
    for p in q["patterns"] or []:
        d.appendTemplate(p)
    if not q["patterns"]:
        d.addDefaultTemplate()
    names = [t.name for t in d.templates]
    for t in d.templates:  # templates are shared, and their hits with them
        t.template.hits = 0
        t.template._compileRegex()
    out = []
    for line in q["lines"]:
        try:
            m, template = d.matchTime(line)
        except IndexError:  # an empty match at the line's end
            out.append("broken")
            continue
        if m is None:
            out.append(None)
            continue
        when = None
        if m.group(1):
            try:
                got = d.getTime(line, (m, template))
                when = got[0] if got else None
            except (KeyError, TypeError):  # an unknown zone, a day without a month
                when = None
        out.append([when, m.start(1), m.end(1), template.name])
    return {"names": names, "dates": out}


for request in sys.stdin:
    try:
        print(json.dumps(answer(json.loads(request))), flush=True)
    except Exception as e:
        print(json.dumps({"error": "%s: %s" % (type(e).__name__, e)}), flush=True)

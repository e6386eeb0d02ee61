"""Asks the real fail2ban what it makes of spans of time: a JSON list of texts in, a
JSON list out: the number as Python prints it, or null for an error and for what is no
number.  seconds.py [LIB]
"""
import json
import sys
import warnings

warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1] if len(sys.argv) > 1 else "/usr/lib/python3/dist-packages")

from fail2ban.server.mytime import MyTime


def seconds(text):
    try:
        n = MyTime.str2seconds(text)
    except Exception:
        return None
    if type(n) not in (int, float):
        return None
    return repr(n)


print(json.dumps([seconds(t) for t in json.load(sys.stdin)]))

#!/usr/bin/python3
"""Python's own answer: one JSON case a line in, one JSON answer a line out.

in:  {"p": pattern, "f": flags as a number of Python's re, "s": subject}
out: {"error": text, "pos": n}, {"spans": null or [[start, end], …] in bytes of
UTF-8, "stepwise": the same where trying a match at each place gives another
result than search, which happens}, {"timeout": true} or {"broken": text} where re itself gives up.
"""
import json
import re
import signal
import sys
import warnings

warnings.simplefilter("ignore")


class Late(Exception):
    pass


def late(*_):
    raise Late


signal.signal(signal.SIGALRM, late)


def offsets(s):
    out, n = [0], 0
    for c in s:
        n += len(c.encode("utf-8", "surrogatepass"))
        out.append(n)
    return out


def spans(rx, m, o):
    if m is None:
        return None
    return [[-1 if i < 0 else o[i] for i in m.span(g)] for g in range(rx.groups + 1)]


def answer(c):
    try:
        rx = re.compile(c["p"], c.get("f", 0))
    except re.error as e:
        return {"error": str(e), "pos": e.pos}
    except (OverflowError, RecursionError, ValueError) as e:
        return {"error": str(e)}
    out = []
    for s in c["s"] if isinstance(c["s"], list) else [c["s"]]:
        signal.setitimer(signal.ITIMER_REAL, 1)
        try:
            m = rx.search(s)
            n = next(filter(None, (rx.match(s, i) for i in range(len(s) + 1))), None)
        except (SystemError, MemoryError, RecursionError) as e:
            out.append({"broken": str(e)})
            continue
        except Late:
            out.append({"timeout": True})
            continue
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        o = offsets(s)
        a, b = spans(rx, m, o), spans(rx, n, o)
        out.append({"spans": a} if a == b else {"spans": a, "stepwise": [b]})
    return {"results": out}


for line in sys.stdin:
    try:
        a = answer(json.loads(line))
    except Late:
        a = {"results": [{"timeout": True}]}
    re.purge()
    print(json.dumps(a), flush=True)

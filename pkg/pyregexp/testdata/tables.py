"""Prints, one JSON object a line, what tests compare with.

  tables.py re_tests   the cases of Python's own table (test/re_tests.py of
                       Debian's libpython3.11-testsuite): {"p", "f": 0, "s": [..]}
  tables.py filters    every expression that the filters of Debian's fail2ban
                       expand to, with all the options that its sample logs try and as journal entries,
                       searched for in every line of those logs, as they are and
                       with dates of two lengths cut off:
                       {"lines": [..]}, then for each expression
                       {"p", "f", "filter", "hits": [[line, [[start, end], ..]], ..]}
"""
import json
import os
import re
import sys

FILES = "/usr/lib/python3/dist-packages/fail2ban/tests/files/logs"


def re_tests():
    from test.re_tests import tests
    for case in tests:
        print(json.dumps({"p": case[0], "f": 0, "s": [case[1]]}))


def options(name):
    """The options under which a sample log is read."""
    found = [{}, {"logtype": "journal"}]
    if not os.path.isfile(os.path.join(FILES, name)):
        return found
    with open(os.path.join(FILES, name), encoding="utf-8", errors="replace") as log:
        for line in log:
            m = re.match(r"^#+ ?filterOptions:(.+)$", line)
            if m:
                value = json.loads(m.group(1))
                for one in value if isinstance(value, list) else [value]:
                    one = {k: v for k, v in one.items() if not k.startswith("test.")}
                    if one not in found:
                        found.append(one)
    return found


def filters():
    import logging
    logging.disable(logging.CRITICAL)
    from fail2ban.client.filterreader import FilterReader
    from fail2ban.server.filter import Filter
    lines, seen = [], {}
    for name in sorted(os.listdir(FILES)):
        path = os.path.join(FILES, name)
        if not os.path.isfile(path):
            continue
        with open(path, encoding="utf-8", errors="replace") as log:
            for line in log:
                line = line.rstrip("\r\n")
                if line.strip() and not line.startswith("#"):
                    lines += [line + "\n", line[15:] + "\n", line[19:] + "\n"]
    for name in sorted(os.listdir("/etc/fail2ban/filter.d")):
        if not name.endswith(".conf") or name.endswith("common.conf"):
            continue
        name = name[:-5]
        for opts in options(name):
            reader = FilterReader(name, "jail", dict(opts), basedir="/etc/fail2ban")
            reader.read()
            reader.getOptions({})
            flt = Filter(None)
            for command in reader.convert():
                for value in command[3] if command[0] == "multi-set" else [command[3]]:
                    if command[2] == "maxlines":
                        flt.setMaxLines(value)
                    elif command[2] == "prefregex":
                        flt.prefRegex = value
                    elif command[2] == "addfailregex":
                        flt.addFailRegex(value)
                    elif command[2] == "addignoreregex":
                        flt.addIgnoreRegex(value)
            expressions = list(flt._Filter__failRegex) + list(flt._Filter__ignoreRegex)
            if flt.prefRegex:
                expressions.append(flt.prefRegex)
            for e in expressions:
                rx = e._regexObj
                seen.setdefault((rx.pattern, rx.flags & re.MULTILINE), (rx, name))
    lines = sorted(set(lines))
    print(json.dumps({"lines": lines}))
    for (pattern, flags), (rx, name) in seen.items():
        hits = []
        for i, line in enumerate(lines):
            m = rx.search(line)
            if m:
                # Positions in bytes.
                at = lambda n: n if n < 0 else len(line[:n].encode())
                hits.append([i, [[at(m.start(g)), at(m.end(g))] for g in range(rx.groups + 1)]])
        print(json.dumps({"p": pattern, "f": int(flags), "filter": name, "hits": hits}))


{"re_tests": re_tests, "filters": filters}[sys.argv[1]]()

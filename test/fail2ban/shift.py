"""How far the clock of the programs under test is off: a file that BAILIFF_TEST_CLOCK
names, with seconds as Go writes a duration ("-3600s")."""

import os


def shift():
    try:
        with open(os.environ["BAILIFF_TEST_CLOCK"]) as f:
            text = f.read().strip()
    except (KeyError, FileNotFoundError):
        return 0
    return float(text.rstrip("s")) if text else 0


def set_shift(seconds):
    name = os.environ["BAILIFF_TEST_CLOCK"]
    with open(name + ".new", "w") as f:
        f.write("%.3fs" % seconds if seconds else "")
    os.rename(name + ".new", name)

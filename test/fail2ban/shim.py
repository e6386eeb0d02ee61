#!/usr/bin/python3
"""fail2ban's own test cases on any programs that have the names of fail2ban's.

    shim.py PROGRAMS OUT [MODULE.CLASS[.CASE] ...]

PROGRAMS is a directory with fail2ban-client, -server and -regex; OUT gets a JSON object
for each case. The cases are those of the fail2ban that PYTHONPATH leads to, loaded as
they are; their assertions are not touched. What they would call inside Python is done
by the programs as processes of their own: commands with their arguments, a server behind
its socket. What those print and log goes into the log that the cases look at, and their
clock is put off by as much as the cases move theirs.

A case in which no program was run tells nothing about programs; it is reported as
"inside". Needs root and a network namespace of its own.
"""

import array
import fcntl
import json
import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

# A case puts a socket at descriptor 3, as systemd does; nothing of ours may be there.
while os.open(os.devnull, os.O_RDWR) < 9:
    pass

from shift import set_shift

PROGRAMS = os.path.abspath(sys.argv[1])

from fail2ban.tests import utils

unittest.F2B = None
utils.F2B.MAX_WAITTIME = 20
utils.F2B.MID_WAITTIME = 10
os.environ["BAILIFF_TEST_CLOCK"] = os.path.join(tempfile.mkdtemp(prefix="shim"), "clock")
set_shift(0)
options = utils.DefaultTestOptions()
options.verbosity = 0
utils.initTests(utils.initProcess(options))

from fail2ban.client import fail2bancmdline
from fail2ban.client.csocket import CSocket
from fail2ban.server.mytime import MyTime
from fail2ban.server.utils import Utils
from fail2ban.tests import (clientbeautifiertestcase, fail2banclienttestcase, fail2banregextestcase, servertestcase, sockettestcase)

log = utils.logSys
used = set()  # the programs that the running case has had to do with


def program(name):
    used.add(name)
    keep_time()
    return os.path.join(PROGRAMS, name)


# The clock. Cases set MyTime's, or take it back by writing to its field, so it's looked at
# whenever something is about to be asked of a program.

shown = None


def keep_time():
    global shown
    if MyTime.myTime != shown:
        shown = MyTime.myTime
        set_shift(0 if shown is None else shown - time.time())


def set_time(t):
    MyTime.myTime = t
    keep_time()


MyTime.setTime = staticmethod(set_time)


pumps = set()


class Pump(threading.Thread):
    """Feeds what a program prints into the log of the cases, line by line."""

    def __init__(self, stream, prefix=""):
        super().__init__(daemon=True)
        self.stream, self.prefix, self.busy = stream, prefix, threading.Lock()
        pumps.add(self)
        self.start()

    def run(self):
        rest = b""
        while select.select([self.stream], [], [])[0]:
            with self.busy:
                got = os.read(self.stream.fileno(), 65536)
                lines = (rest + got).split(b"\n")
                rest = lines.pop() if got else b""
                for line in lines:
                    if line or got:
                        log.info("%s%s", self.prefix, line.decode("utf-8", "surrogateescape"))
                if not got:
                    break
        pumps.discard(self)
        self.stream.close()

    def drained(self):
        with self.busy:
            if self.stream.closed:
                return True
            waiting = array.array("i", [0])
            fcntl.ioctl(self.stream, termios.FIONREAD, waiting)
            return not waiting[0]


# Inside Python a line is in the log when it was logged. From a program it comes by a pipe.


def drain():
    Utils.wait_for(lambda: all(p.drained() for p in list(pumps)), 5)


logged, not_logged = utils.LogCaptureTestCase.assertLogged, utils.LogCaptureTestCase.assertNotLogged


def assert_logged(self, *s, **kwargs):
    if used:
        kwargs["wait"] = kwargs.get("wait") or 3
    return logged(self, *s, **kwargs)


def assert_not_logged(self, *s, **kwargs):
    drain()
    return not_logged(self, *s, **kwargs)


utils.LogCaptureTestCase.assertLogged = assert_logged
utils.LogCaptureTestCase.assertNotLogged = assert_not_logged


def run(name, args, prefix="", given=b""):
    """Runs a program to its end; returns its exit code."""
    p = subprocess.Popen([program(name)] + list(args), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ends = [Pump(p.stdout, prefix), Pump(p.stderr)]
    try:
        p.stdin.write(given)
        p.stdin.close()
    except BrokenPipeError:
        pass
    code = p.wait()
    for t in ends:
        t.join(1)  # a server that was started in the background may have inherited them
    return code


# fail2ban-regex


def regex(*args):
    # Inside Python, the log of the cases gets everything; a program is to be asked for it.
    if "-l" not in args:
        args = ("-l", "debug") + args
    return run("fail2ban-regex", args, "output: ") == 0


fail2banregextestcase._test_exec = regex
fail2banregextestcase._test_exec_command_line = lambda *args: run("fail2ban-regex", args, "output: ")


# fail2ban-client and fail2ban-server


def command(argv):
    argv = list(argv)
    # INHERITED is the log of the process that the cases run in: what a program of its own
    # prints comes to the same. The cases look for what is said at the level of debugging.
    for i, a in enumerate(argv):
        if a == "INHERITED":
            argv[i] = "STDOUT"
        elif a == "--loglevel" and "STDOUT" in argv:
            argv[i + 1] = "DEBUG"
    given = b""
    if "-i" in argv:
        words, fail2banclienttestcase.INTERACT[:] = list(fail2banclienttestcase.INTERACT), []
        given = "".join(w + "\n" for w in words).encode()
    code = run(argv[0], argv[1:], given=given)
    log.info("Exit with code %s", code)
    raise (fail2banclienttestcase.ExitException if code == 0 else fail2banclienttestcase.FailExitException)()


fail2banclienttestcase.BIN = PROGRAMS
fail2banclienttestcase.Fail2banClientTest.exec_command_line = (command, "fail2ban-client")
fail2banclienttestcase.Fail2banServerTest.exec_command_line = (command, "fail2ban-server")

execute = Utils.executeCmd


def execute_program(cmd, *args, **kwargs):
    if not isinstance(cmd, str) and len(cmd) > 1 and cmd[0] == sys.executable and os.path.dirname(cmd[1]) == PROGRAMS:
        cmd = (program(os.path.basename(cmd[1])),) + tuple(cmd[2:])
    return execute(cmd, *args, **kwargs)


Utils.executeCmd = staticmethod(execute_program)


class ProgramSocket(CSocket):
    """fail2ban's own client end, with the clock kept."""

    def send(self, *args, **kwargs):
        keep_time()
        used.add("fail2ban-server")
        return CSocket.send(self, *args, **kwargs)


fail2banclienttestcase.CSocket = ProgramSocket


# The beautifier: what fail2ban-client prints of an answer that it is given.


class Beautifier:
    def __init__(self, cmd=None):
        self.cmd = cmd or ["status", "sshd"]
        self.encUtf = 1

    def setInputCmd(self, cmd):
        self.cmd = cmd

    def getInputCmd(self):
        return self.cmd

    def beautify(self, response):
        return self.print((0, response))

    def beautifyError(self, error):
        return self.print((1, error))

    def print(self, answer):
        tmp = tempfile.mkdtemp(prefix="shim")
        for name in ("fail2ban.conf", "jail.conf"):
            with open(os.path.join(tmp, name), "w") as f:
                f.write("[Definition]\n" if name == "fail2ban.conf" else "[DEFAULT]\n")
        path = os.path.join(tmp, "sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(5)

        def serve():
            while True:
                try:
                    c, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=converse, args=(c,), daemon=True).start()

        def converse(c):
            got = b""
            while True:
                chunk = c.recv(65536)
                if not chunk:
                    return c.close()
                got += chunk
                while b"<F2B_END_COMMAND>" in got:
                    request, got = got.split(b"<F2B_END_COMMAND>", 1)
                    if request.startswith(b"<F2B_CLOSE_COMMAND>"):
                        return c.close()
                    request = pickle.loads(request)
                    said = answer if request == list(map(str, self.cmd)) else (0, "pong") if request[0] == "ping" else (0, None)
                    c.sendall(pickle.dumps(said, pickle.HIGHEST_PROTOCOL) + b"<F2B_END_COMMAND>")
                    if request[0] == "stop":  # nobody listens any more, which the client waits for
                        listener.shutdown(socket.SHUT_RDWR)
                        listener.close()

        threading.Thread(target=serve, daemon=True).start()
        try:
            env = dict(os.environ)
            env.update({"LC_ALL": "C.UTF-8" if self.encUtf else "C.ISO-8859-1", "PYTHONIOENCODING": "utf-8" if self.encUtf else "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
            p = subprocess.run([program("fail2ban-client"), "-c", tmp, "-s", path, "-p", os.path.join(tmp, "pid")] + list(map(str, self.cmd)),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, stdin=subprocess.DEVNULL, timeout=30)
            said = p.stdout.decode()
            return said[:-1] if said.endswith("\n") else said
        finally:
            listener.close()
            shutil.rmtree(tmp)


clientbeautifiertestcase.Beautifier = Beautifier


# A server behind its socket, for the cases of the transmitter and of the socket.


class Daemon:
    """A server in a directory of its own, in the foreground, without jails."""

    def __init__(self, sock=None, options=(), inherit=(), before=None):
        self.dir = tempfile.mkdtemp(prefix="shim")
        self.sock = sock or os.path.join(self.dir, "sock")
        with open(os.path.join(self.dir, "fail2ban.conf"), "w") as f:
            f.write("[Definition]\nloglevel = DEBUG\nlogtarget = STDOUT\nsyslogsocket = auto\nsocket = %s\npidfile = %s\ndbfile = :memory:\ndbmaxmatches = 10\ndbpurgeage = 1d\n" % (self.sock, os.path.join(self.dir, "pid")))
        with open(os.path.join(self.dir, "jail.conf"), "w") as f:
            f.write("[DEFAULT]\n")
        argv = [program("fail2ban-server"), "-c", self.dir, "-s", self.sock, "-p", os.path.join(self.dir, "pid"), "-f"] + list(options) + ["start"]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=inherit, preexec_fn=before)
        self.pump = Pump(self.process.stdout)
        self.client = None

    def ready(self):
        """Reports whether it answers; raises if it has ended."""
        if self.process.poll() is not None:
            raise OSError("the server ended with %d" % self.process.returncode)
        try:
            c = CSocket(self.sock)
        except OSError:
            return False
        try:
            return c.send(["ping"], timeout=5) == (0, "pong")
        except OSError:
            return False
        finally:
            c.close()

    def proceed(self, cmd):
        keep_time()
        used.add("fail2ban-server")
        if self.client is None:
            self.client = CSocket(self.sock, timeout=20)
        got = self.client.send(cmd)
        if cmd and cmd[0] == "stop":
            self.client = None
        return tuple(got) if isinstance(got, list) and len(got) == 2 else got

    def quit(self):
        if self.client is not None:
            self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.pump.join(1)
        shutil.rmtree(self.dir, ignore_errors=True)


class Server:
    """What the cases of the transmitter ask of a server inside Python, asked of one
    behind a socket."""

    def __init__(self):
        self.daemon = Daemon()
        self._Server__transm = self.daemon
        if not Utils.wait_for(self.daemon.ready, 20):
            raise OSError("no server came up")
        log.handlers[0].truncate(0)

    def good(self, *cmd):
        code, value = self.daemon.proceed(list(cmd))
        if code:
            raise value if isinstance(value, Exception) else Exception(value)
        return value

    def addJail(self, name, backend):
        self.good("add", name, backend)

    def startJail(self, name):
        self.good("start", name)

    def delJail(self, name):
        self.good("stop", name)

    @property
    def _Server__jails(self):
        return dict.fromkeys(n for n in self.good("status")[1][1].split(", ") if n)

    def isStarted(self):
        return self.daemon.ready()

    def isAlive(self, jails=None):
        return self.daemon.ready() and (jails is None or len(self._Server__jails) == jails)

    def setLogTarget(self, target):
        self.good("set", "logtarget", target)

    def setLogLevel(self, level):
        self.good("set", "loglevel", level)

    def setSyslogSocket(self, path):
        self.good("set", "syslogsocket", path)

    def getSyslogSocket(self):
        return self.good("get", "syslogsocket")

    def quit(self):
        self.daemon.quit()


servertestcase.TransmitterBase.TEST_SRV_CLASS = Server
servertestcase.TransmitterLogging.TEST_SRV_CLASS = Server


class SocketServer:
    """The server of the cases of the socket. They want to have back what they send; the
    command for that is echo."""

    def __init__(self, transmitter):
        self.daemon = None
        self.active = False

    def start(self, sock, force, timeout=None):
        inherit, before, env = (), None, ("LISTEN_PID", "LISTEN_FDS")
        if os.environ.get("LISTEN_PID") == str(os.getpid()):
            count = int(os.environ["LISTEN_FDS"])
            inherit = tuple(range(3, 3 + count))
            for name in env:
                os.environ.pop(name)

            def before():
                os.environ.update({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count)})

        self.daemon = Daemon(sock, ("-x",) if force or inherit else (), inherit, before)
        try:
            Utils.wait_for(self.daemon.ready, 20)
            self.active = True
        except OSError as e:
            self.daemon.quit()
            raise sockettestcase.AsyncServerException(str(e))
        self.daemon.process.wait()
        self.active = False

    def isActive(self):
        return self.active

    def stop(self):
        if self.daemon is not None:
            self.daemon.quit()
            self.active = False

    def close(self):
        self.daemon.process.send_signal(signal.SIGTERM)

    def stop_communication(self):
        self.daemon.process.send_signal(signal.SIGTERM)


class EchoSocket(CSocket):
    def send(self, msg, *args, **kwargs):
        used.add("fail2ban-server")
        got = CSocket.send(self, ["echo"] + msg, *args, **kwargs)
        return got[1] if isinstance(got, (tuple, list)) and len(got) == 2 and got[0] == 0 else got


sockettestcase.AsyncServer = SocketServer
sockettestcase.CSocket = EchoSocket

CLASSES = (
    fail2banregextestcase.Fail2banRegexTest,
    fail2banclienttestcase.Fail2banClientTest,
    fail2banclienttestcase.Fail2banServerTest,
    clientbeautifiertestcase.BeautifierTest,
    sockettestcase.Socket,
    sockettestcase.ClientMisc,
    servertestcase.Transmitter,
    servertestcase.TransmitterLogging,
)


class Result(unittest.TestResult):
    def __init__(self, out):
        super().__init__()
        self.out = out

    def startTest(self, test):
        used.clear()
        self.began = time.monotonic()
        self.why, self.result = "", "pass"
        super().startTest(test)

    def note(self, result, err):
        if self.result == "pass":
            self.result, self.why = result, self._exc_info_to_string(*err)

    def _exc_info_to_string(self, kind, value, trace):
        where = ""
        while trace is not None:
            code = trace.tb_frame.f_code
            if code.co_filename.endswith("testcase.py"):
                where = "%s:%d" % (os.path.basename(code.co_filename), trace.tb_lineno)
            trace = trace.tb_next
        return "%s: %s (%s)" % (kind.__name__, value, where)

    def addError(self, test, err):
        self.note("fail", err)

    def addFailure(self, test, err):
        self.note("fail", err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.note("fail", err)

    def addSkip(self, test, reason):
        self.result, self.why = "skip", reason

    def stopTest(self, test):
        if self.result == "pass" and not used:
            self.result = "inside"
        name = ".".join(test.id().split(".")[-3:])
        json.dump({"case": name, "result": self.result, "why": self.why.replace("\0", ""), "seconds": round(time.monotonic() - self.began, 2)}, self.out)
        self.out.write("\n")
        self.out.flush()
        MyTime.myTime = None
        super().stopTest(test)


def main():
    wanted = sys.argv[3:]
    suite = unittest.TestSuite()
    for cls in CLASSES:
        for case in unittest.defaultTestLoader.loadTestsFromTestCase(cls):
            name = ".".join(case.id().split(".")[-3:])
            if not wanted or any(name == w or name.startswith(w + ".") for w in wanted):
                suite.addTest(case)
    with open(sys.argv[2], "w") as out:
        suite.run(Result(out))
    shutil.rmtree(os.path.dirname(os.environ["BAILIFF_TEST_CLOCK"]))


main()

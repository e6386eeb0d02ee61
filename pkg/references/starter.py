"""Runs programs of one fail2ban, each in a process of its own that is forked from this one,
which has their modules loaded: to load them takes five times as long as what they do.

    starter.py SOCKET MODULE ...

Who connects sends three descriptors (standard input, output and error) with a line of JSON:
the program's file, its arguments, its directory. He gets its exit code back.
"""

import array
import atexit
import json
import os
import runpy
import socket
import sys
import traceback

for module in sys.argv[2:]:
    __import__(module)

listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listener.bind(sys.argv[1])
listener.listen(100)
listener.settimeout(5)
parent = os.getppid()


def received(conn):
    fds = array.array("i")
    text, more, _, _ = conn.recvmsg(1 << 20, socket.CMSG_SPACE(3 * fds.itemsize))
    for _, _, data in more:
        fds.frombytes(data)
    while not text.endswith(b"\n"):
        rest = conn.recv(1 << 20)
        if not rest:  # who came has nothing to ask
            os._exit(0)
        text += rest
    return json.loads(text), fds


def become(asked, fds):
    for to, fd in enumerate(fds):
        os.dup2(fd, to)
        os.close(fd)
    os.chdir(asked["dir"])
    sys.argv = [asked["program"]] + asked["args"]
    code = 0
    try:
        runpy.run_path(asked["program"], run_name="__main__")
    except SystemExit as e:
        if isinstance(e.code, int) or e.code is None:
            code = e.code or 0
        else:
            print(e.code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os._exit(code & 255)


while os.getppid() == parent:  # else the test was killed
    try:
        conn, _ = listener.accept()
    except TimeoutError:
        continue
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            break
    if os.fork() != 0:
        conn.close()
        continue
    listener.close()
    asked, fds = received(conn)
    child = os.fork()
    if child == 0:
        conn.close()
        become(asked, fds)
    for fd in (0, 1, 2):  # nobody waits for the end of what this process has open
        os.dup2(os.open(os.devnull, os.O_RDWR), fd)
    for fd in fds:
        os.close(fd)
    _, status = os.waitpid(child, 0)
    conn.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)

"""A TCP connection that a pod opens and keeps, to the outside's echo server."""

import subprocess

from egress_compiler.lab import TCP_PORT, Lab, kill

LONG_LIVED = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
stream = connection.makefile("rw")
print(stream.readline().split()[0], flush=True)
for line in sys.stdin:
    stream.write(line)
    stream.flush()
    print(stream.readline().strip(), flush=True)
"""


class OpenConnection:
    """A TCP connection from a pod that stays open; its first answer is the source address seen."""

    def __init__(self, lab: Lab, pod: str, address: str) -> None:
        self._process = lab.popen(pod, ["python3", "-c", LONG_LIVED, address, str(TCP_PORT)], stdin=subprocess.PIPE)
        assert self._process.stdout is not None
        self.seen = self._process.stdout.readline().strip()

    def says(self, word: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        kill(self._process)

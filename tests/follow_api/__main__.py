"""The scripted API server as a process, for tests in network namespaces: commands come over a socket.

    python -m tests.follow_api --control unix:/run/control [--address A] [--port N] [--tls] [--kubeconfig FILE]

Each line of the control socket is a JSON object: ``do``, the name of one of COMMANDS, and its arguments. The answer is
a line with ``ok``, what the method returns, or ``error``.
"""

import argparse
import json
import socketserver
import sys
import threading
from pathlib import Path
from typing import Any

from tests.follow_api.certificates import Authority
from tests.follow_api.scripted_api import ScriptedApi

COMMANDS = frozenset(
    {
        "add_pod",
        "delete_pod",
        "add_namespace",
        "delete_namespace",
        "put",
        "delete",
        "misbehave",
        "heal",
        "compact",
        "cut",
        "restart",
        "expire_token",
        "down",
        "up",
        "kubeconfig",
        "objects",
    }
)


class Control:
    """Serves ``where``, unix:PATH or tcp:PORT on loopback."""

    def __init__(self, api: ScriptedApi, where: str) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    self.wfile.write(json.dumps(obey(api, line)).encode() + b"\n")

        kind, _, place = where.partition(":")
        self._server: socketserver.ThreadingTCPServer | socketserver.ThreadingUnixStreamServer
        if kind == "unix":
            self._server = socketserver.ThreadingUnixStreamServer(place, Handler)
            self.where = where
        else:
            tcp = socketserver.ThreadingTCPServer(("127.0.0.1", int(place)), Handler)
            self._server, self.where = tcp, f"tcp:{tcp.server_address[1]}"
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def obey(api: ScriptedApi, line: bytes) -> dict[str, Any]:
    try:
        arguments = json.loads(line)
        name = arguments.pop("do")
        if name not in COMMANDS:
            return {"error": f"no command {name}"}
        return {"ok": getattr(api, name)(**arguments)}
    except Exception as error:  # whoever drives a test has to hear of any
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    parser = argparse.ArgumentParser(description="an API server that misbehaves when told to")
    parser.add_argument("--control", required=True)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--bookmark-seconds", type=float, default=60.0)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--kubeconfig", type=Path)
    options = parser.parse_args()
    authority = Authority() if options.tls else None
    api = ScriptedApi(options.address, options.port, authority, bookmark_seconds=options.bookmark_seconds)
    control = Control(api, options.control)
    if options.kubeconfig is not None:
        options.kubeconfig.write_text(api.kubeconfig(), encoding="utf-8")
    print(json.dumps({"url": api.url, "control": control.where}), flush=True)
    # Ends with its standard input, and so with the test that started it.
    sys.stdin.read()


if __name__ == "__main__":
    main()

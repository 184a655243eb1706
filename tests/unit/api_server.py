"""An API server on loopback that lists objects as the real one does, and fails as it, or what stands before it, may.

What a real one does was tried with kube-apiserver 1.36: authorization comes before the look-up, so that a resource
nobody gave a rule for is forbidden whether it is served or not.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.properties.strategies import Json

PATHS = {
    "Node": "/api/v1/nodes",
    "Pod": "/api/v1/pods",
    "Namespace": "/api/v1/namespaces",
    "Service": "/api/v1/services",
    "ServiceCIDR": "/apis/networking.k8s.io/v1/servicecidrs",
    "IPPool": "/apis/crd.projectcalico.org/v1/ippools",
}
KUBEADM = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
ALWAYS = ("Node", "Pod", "Namespace", "Service")


@dataclass
class Odd:
    """One strange answer.  ``body`` goes out after the status, or, without one, is all that goes out."""

    status: int = 200
    body: Json | bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    way: str = "whole"
    """``whole``; ``hang``: nothing comes; ``drip``: a byte now and then; ``cut``: the connection ends half-way."""


class ApiServer:
    """Serves ``objects`` in pages, ServiceCIDRs and IPPools where there are any.

    ``failing`` are paths with the status they answer with, ``odd`` paths with answers that are given once each, the
    last one again and again if ``forever``.  ``forbidden`` tells for a path whether nobody may read it.
    """

    def __init__(self, objects: list[Json]) -> None:
        self.objects = objects
        self.paths = dict(PATHS)
        self.failing: dict[str, int] = {}
        self.odd: dict[str, list[Odd]] = {}
        self.forever = False
        self.forbidden: Callable[[str], bool] = lambda path: False
        self.page_size: int | None = None
        self.expiring = 0
        self.requests: list[str] = []
        self.bearer = "t0p"
        self.closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(self.path)
                odd = outer.odd_answer(urlsplit(self.path).path)
                status, body = outer.answer(self.path, self.headers.get("Authorization", ""))
                if odd is not None:
                    status, body = odd.status, body if odd.body is None else odd.body
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                outer.send(self, status, content, odd or Odd())

            def log_message(self, format: str, *args: object) -> None:
                """Nothing on the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def odd_answer(self, path: str) -> Odd | None:
        waiting = self.odd.get(path, [])
        if not waiting:
            return None
        return waiting[0] if self.forever and len(waiting) == 1 else waiting.pop(0)

    def send(self, handler: BaseHTTPRequestHandler, status: int, content: bytes, odd: Odd) -> None:
        if odd.way == "hang":
            self.closing.wait(60)
            return
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        for name, value in odd.headers:
            handler.send_header(name, value)
        handler.end_headers()
        if odd.way == "drip":
            for byte in content:
                handler.wfile.write(bytes([byte]))
                if self.closing.wait(0.1):
                    break
            return
        handler.wfile.write(content[: len(content) // 2] if odd.way == "cut" else content)
        if odd.way == "cut":
            handler.close_connection = True

    def answer(self, target: str, authorization: str) -> tuple[int, Any]:
        url = urlsplit(target)
        if authorization != f"Bearer {self.bearer}":
            return 401, failure(401, "Unauthorized")
        if self.forbidden(url.path):
            return 403, failure(403, f'"{url.path}" is forbidden: User "ci" cannot read it')
        if url.path in self.failing:
            return self.failing[url.path], failure(self.failing[url.path], "as the test wants it")
        if url.path == "/apis" or (url.path.count("/") == 3 and url.path.startswith("/apis/")):
            return self._discovery(url.path.removeprefix("/apis").lstrip("/"))
        kind = next((kind for kind, path in self.paths.items() if path == url.path), None)
        if url.path == KUBEADM:
            found = [item for item in self.objects if item["kind"] == "ConfigMap"]
            return (200, found[0]) if found else (404, failure(404, "not found"))
        if kind is None or not self._served(kind):
            return 404, failure(404, "the server could not find the requested resource")
        return self._page(kind, parse_qs(url.query))

    def _served(self, kind: str) -> bool:
        return kind in ALWAYS or bool(self._of(kind))

    def _discovery(self, version: str) -> tuple[int, Any]:
        """The groups, or the resources of one version; networking.k8s.io is there with other resources anyway."""
        served: dict[str, list[str]] = {"networking.k8s.io/v1": ["networkpolicies"], "apps/v1": ["deployments"]}
        for kind, path in self.paths.items():
            if path.startswith("/apis/") and self._served(kind):
                group, number, plural = path.removeprefix("/apis/").split("/")
                served.setdefault(f"{group}/{number}", []).append(plural)
        if version:
            resources = [{"name": name, "kind": "X", "verbs": ["list"]} for name in served.get(version, ())]
            answer = {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
            return (200, answer) if version in served else (404, failure(404, "not served"))
        groups = [
            {"name": name.split("/")[0], "versions": [{"groupVersion": name, "version": name.split("/")[1]}]}
            for name in served
        ]
        return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def _of(self, kind: str) -> list[Json]:
        """As the API server lists them: without kind and apiVersion in each item."""
        return [
            {key: value for key, value in item.items() if key not in ("kind", "apiVersion")}
            for item in self.objects
            if item["kind"] == kind
        ]

    def _page(self, kind: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        start = int(query.get("continue", ["0"])[0])
        if start and self.expiring:
            self.expiring -= 1
            return 410, failure(410, "the provided continue parameter is too old")
        items = self._of(kind)
        end = start + (self.page_size or int(query["limit"][0]))
        metadata = {"resourceVersion": "7"} | ({"continue": str(end)} if end < len(items) else {})
        return 200, {"kind": f"{kind}List", "apiVersion": "v1", "metadata": metadata, "items": items[start:end]}


def failure(status: int, message: str) -> Json:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": status}

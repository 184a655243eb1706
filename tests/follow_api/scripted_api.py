"""An API server of pods and namespaces that answers as the real one does, until it is told to misbehave.

What a real one does: the API concepts of Kubernetes' documentation ("Resource versions", "Efficient detection of
changes"), and kube-apiserver 1.36, tried.
"""

import base64
import json
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.follow_api.certificates import Authority
from tests.follow_api.handler import Handler, Server
from tests.follow_api.wire import KINDS, Fault, Json, Refusal, Request, status

_FIRST_VERSION = 1000


@dataclass(frozen=True)
class Event:
    version: int
    kind: str
    old: Json | None
    new: Json | None


@dataclass
class Counts:
    """Lists and watches that were asked for, whatever they got."""

    requests: list[Request] = field(default_factory=list)

    def of(self, verb: str, kind: str = "") -> list[Request]:
        return [one for one in self.requests if one.verb == verb and kind in ("", one.kind)]


class ScriptedApi:
    """Listens at once; ``close`` or ``with`` ends it. All methods may be called from any thread."""

    def __init__(
        self,
        address: str = "127.0.0.1",
        port: int = 0,
        authority: Authority | None = None,
        token: str | None = "first-token",  # noqa: S107  # of a server that lives in a test
        bookmark_seconds: float = 60.0,
    ) -> None:
        self.authority = authority
        self.token = token
        """None: everybody may read."""
        self.bookmark_seconds = bookmark_seconds
        self.counts = Counts()
        self.version = _FIRST_VERSION
        self.refuses_future = True
        """Whether a watch from a version that is yet to come is an error; older servers wait in silence."""
        self._address = address
        self._port = port
        self._changed = threading.Condition()
        self._objects: dict[str, dict[tuple[str, str], Json]] = {kind: {} for kind in KINDS.values()}
        self._history: list[Event] = []
        self._floor = _FIRST_VERSION
        self._pages: dict[str, tuple[int, list[Json]]] = {}
        self._faults: list[Fault] = []
        self._uids = 0
        self._epoch = 0
        """Streams of an earlier one end."""
        self._connections: set[socket.socket] = set()
        self._server: Server | None = None
        self._tls = self._server_tls() if authority is not None else None
        self.up()

    def __enter__(self) -> "ScriptedApi":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------ what there is

    @property
    def url(self) -> str:
        return f"{'https' if self.authority else 'http'}://{self._address}:{self._port}"

    def kubeconfig(self, user: Json | None = None, **cluster: Any) -> str:
        """As JSON, which is YAML; with the token that is good now, unless ``user`` says otherwise."""
        if self.authority is not None and "insecure-skip-tls-verify" not in cluster:
            cluster.setdefault("certificate-authority-data", base64.b64encode(self.authority.pem).decode())
        if user is None:
            user = {"token": self.token} if self.token and self.authority else {}
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": self.url, **cluster}}],
                "users": [{"name": "u", "user": user}],
            },
            indent=2,
        )

    def objects(self, kind: str) -> list[Json]:
        """All that there is, of all nodes."""
        with self._changed:
            return list(self._objects[kind].values())

    def add_pod(
        self,
        namespace: str,
        name: str,
        node: str = "n1",
        ips: list[str] | None = None,
        labels: dict[str, str] | None = None,
        phase: str = "Running",
        host_network: bool = False,
        padding: int = 0,
    ) -> int:
        """Also for one that is there: it is changed. Returns the version."""
        metadata: Json = {"name": name, "namespace": namespace, "labels": labels or {}}
        if padding:
            metadata["annotations"] = {"padding": "x" * padding}
        addresses = [{"ip": ip} for ip in ips or []]
        status: Json = {"phase": phase, **({"podIP": addresses[0]["ip"], "podIPs": addresses} if addresses else {})}
        spec: Json = {"nodeName": node, **({"hostNetwork": True} if host_network else {})}
        return self.put("Pod", {"metadata": metadata, "spec": spec, "status": status})

    def delete_pod(self, namespace: str, name: str) -> int:
        return self.delete("Pod", namespace, name)

    def add_namespace(self, name: str, labels: dict[str, str] | None = None) -> int:
        labels = {"kubernetes.io/metadata.name": name, **(labels or {})}
        return self.put("Namespace", {"metadata": {"name": name, "labels": labels}})

    def delete_namespace(self, name: str) -> int:
        return self.delete("Namespace", "", name)

    def put(self, kind: str, given: Json) -> int:
        """Any object; uid and version are the server's."""
        with self._changed:
            key = (given["metadata"].get("namespace", ""), given["metadata"]["name"])
            old = self._objects[kind].get(key)
            self._uids += old is None
            uid = old["metadata"]["uid"] if old is not None else f"uid-{self._epoch}-{self._uids}"
            self.version += 1
            metadata = {"uid": uid, **given["metadata"], "resourceVersion": str(self.version)}
            new = {"apiVersion": "v1", "kind": kind, **given, "metadata": metadata}
            self._objects[kind][key] = new
            self._record(Event(self.version, kind, old, new))
            return self.version

    def delete(self, kind: str, namespace: str, name: str) -> int:
        with self._changed:
            old = self._objects[kind].pop((namespace, name))
            self.version += 1
            self._record(Event(self.version, kind, old, None))
            return self.version

    def _record(self, event: Event) -> None:
        self._history.append(event)
        self._changed.notify_all()

    # ------------------------------------------------------------------------------------------------- misbehaviour

    def misbehave(self, name: str, verb: str = "", kind: str = "", times: int = 1, seconds: float = 0.05) -> None:
        """Answers the next requests of this verb (list, watch) and kind in this way; ``times`` -1: all of them.

        Beside FAULTS: ``gone-page`` a continue token is answered with 410; ``gone-event`` a watch has an ERROR event;
        ``cut`` half an answer, or half an event; ``drip`` a byte each ``seconds``; ``silent`` a watch without
        anything; ``hang`` no answer at all; ``reset`` the connection; ``duplicate`` each event twice; ``disorder``
        events in pairs, the later one first; ``status`` 200 with a Status; ``html`` a login page; ``garbage`` bytes;
        ``deep`` JSON; ``long`` a line without an end; ``end`` a watch that ends at once; ``odd`` objects of
        strange shapes among the others.
        """
        with self._changed:
            self._faults.append(Fault(name, verb, kind, times, seconds))

    def heal(self) -> None:
        with self._changed:
            self._faults.clear()

    def fault(self, request: Request) -> Fault | None:
        with self._changed:
            for fault in self._faults:
                fits = fault.verb in ("", request.verb) and fault.kind in ("", request.kind) and fault.times
                if fits and (fault.name != "gone-page" or "continue" in request.query):
                    fault.times -= fault.times > 0
                    return fault
            return None

    def compact(self) -> None:
        """Forgets its history, as etcd does after five minutes: continue tokens too."""
        with self._changed:
            self._history.clear()
            self._pages.clear()
            self._floor = self.version
            self._changed.notify_all()

    def cut(self) -> None:
        """Ends all connections."""
        with self._changed:
            self._epoch += 1
            self._changed.notify_all()
        self._drop()

    def restart(self, version: int | None = None) -> None:
        """With all objects and no history; ``version`` begins another one, as from a backup of etcd."""
        self.down()
        with self._changed:
            if version is not None:
                self.version = version
                for objects in self._objects.values():
                    for one in objects.values():
                        one["metadata"] = {**one["metadata"], "resourceVersion": str(version)}
        self.compact()
        self.up()

    def expire_token(self, token: str) -> None:
        """From now on this one is good, and no other."""
        self.token = token
        self.cut()

    def down(self) -> None:
        """Refuses connections, until ``up``."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        self.cut()

    def up(self) -> None:
        """On the same port."""
        outer = self

        class Bound(Handler):
            api = outer

        self._server = Server((self._address, self._port), Bound)
        self._server.tls = self._tls
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.down()

    def _drop(self) -> None:
        for connection in list(self._connections):
            try:
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                continue

    def _server_tls(self) -> ssl.SSLContext:
        assert self.authority is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pair = self.authority.issue("scripted-api", (self._address,), ("scripted-api.test",))
        with tempfile.TemporaryDirectory() as directory:
            context.load_cert_chain(*pair.write(Path(directory), "server"))
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=self.authority.pem.decode())
        return context

    # ------------------------------------------------------------------------------------------------------ answers

    @property
    def certified(self) -> bool:
        return self.authority is not None

    def note(self, request: Request) -> None:
        self.counts.requests.append(request)

    def joined(self, connection: socket.socket) -> None:
        self._connections.add(connection)

    def left(self, connection: socket.socket) -> None:
        self._connections.discard(connection)

    def list(self, request: Request) -> Json:
        """Raises Refusal."""
        with self._changed:
            token = request.query.get("continue")
            limit = int(request.query.get("limit", "0"))
            asked = request.query.get("resourceVersion", "")
            if token is not None:
                if token not in self._pages:
                    raise Refusal(410, "The provided continue parameter is too old")
                version, items = self._pages.pop(token)
            else:
                if asked not in ("", "0") and int(asked) > self.version:
                    raise Refusal(504, f"Too large resource version: {asked}, current: {self.version}")
                selected = selector(request)
                version = self.version
                items = [one for _, one in sorted(self._objects[request.kind].items()) if selected(one)]
                if asked == "0":
                    limit = 0  # such a list comes from the cache, as a whole
            metadata: Json = {"resourceVersion": str(version)}
            if limit and len(items) > limit:
                metadata["continue"] = f"token-{len(self.counts.requests)}"
                self._pages[metadata["continue"]] = (version, items[limit:])
                items = items[:limit]
            return {"kind": request.kind + "List", "apiVersion": "v1", "metadata": metadata, "items": items or None}

    def events(self, request: Request, mute: Callable[[], bool]) -> Iterator[Json]:
        """Until the time is up or the server goes. Raises Refusal at first."""
        start = int(request.query.get("resourceVersion") or "0") or self.version
        end = time.monotonic() + float(request.query.get("timeoutSeconds", "300"))
        selected = selector(request)
        with self._changed:
            if start < self._floor:
                raise Refusal(410, f"too old resource version: {start} ({self._floor})")
            if start > self.version and self.refuses_future:
                raise Refusal(504, f"Too large resource version: {start}, current: {self.version}")
            epoch = self._epoch
        return self._stream(request, start, end, selected, epoch, mute)

    def _stream(
        self,
        request: Request,
        at: int,
        end: float,
        selected: Callable[[Json], bool],
        epoch: int,
        mute: Callable[[], bool],
    ) -> Iterator[Json]:
        bookmark = time.monotonic() + self.bookmark_seconds
        while True:
            with self._changed:
                now = time.monotonic()
                missed = at < self._floor
                fresh = [one for one in self._history if one.version > at]
                if not missed and not fresh and now < min(end, bookmark) and self._epoch == epoch:
                    self._changed.wait(min(end, bookmark) - now)
                    continue
                if self._epoch != epoch or now >= end:
                    return
                version = self.version
            if missed:
                yield {"type": "ERROR", "object": status(410, f"too old resource version: {at}")}
                return
            for one in fresh:
                at = one.version
                event = _event(one, selected) if one.kind == request.kind else None
                if event is not None and not mute():
                    yield event
            if time.monotonic() >= bookmark and request.query.get("allowWatchBookmarks") == "true":
                # Of the server's own version, also to a watch that began beyond it.
                if not mute():
                    metadata = {"resourceVersion": str(version), "creationTimestamp": None}
                    yield {
                        "type": "BOOKMARK",
                        "object": {"kind": request.kind, "apiVersion": "v1", "metadata": metadata},
                    }
                bookmark = time.monotonic() + self.bookmark_seconds


def selector(request: Request) -> Callable[[Json], bool]:
    key, _, wanted = request.query.get("fieldSelector", "").partition("=")
    return lambda one: not key or one.get("spec", {}).get("nodeName") == wanted


def _event(event: Event, selected: Callable[[Json], bool]) -> Json | None:
    """As it looks to a watch of some objects only."""
    before = event.old is not None and selected(event.old)
    after = event.new is not None and selected(event.new)
    if after:
        return {"type": "MODIFIED" if before else "ADDED", "object": event.new}
    if before:
        assert event.old is not None
        metadata = {**event.old["metadata"], "resourceVersion": str(event.version)}
        return {"type": "DELETED", "object": {**event.old, "metadata": metadata}}
    return None

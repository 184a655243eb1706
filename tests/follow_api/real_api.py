"""A real kube-apiserver over etcd, with Node and RBAC authorization, where their programs are at hand.

They come from KUBEBUILDER_ASSETS, as controller-runtime's envtest has them, or from PATH.
"""

import base64
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.follow_api.certificates import Authority
from tests.follow_api.wire import Json

ADMIN, NODE = "admin-token", "node-token"
_START_SECONDS = 60


def program(name: str) -> str | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    beside = shutil.which(name, path=assets) if assets else None
    return beside or shutil.which(name)


def missing() -> str:
    """Why there can be none; empty where there can."""
    names = [name for name in ("kube-apiserver", "etcd") if program(name) is None]
    return f"no {' and no '.join(names)} in KUBEBUILDER_ASSETS or PATH" if names else ""


class RealApi:
    """One of its own in ``directory``; ``close`` ends it. NODE is the token of node n1's kubelet."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = Authority()
        self._port, client, peer = _free_ports(3)
        self._etcd_url = f"http://127.0.0.1:{client}"
        self._authority.issue("kube-apiserver", ("127.0.0.1",), ("localhost",)).write(directory, "server")
        self._authority.issue("service-accounts").write(directory, "accounts")
        (directory / "tokens.csv").write_text(
            f'{ADMIN},admin,admin,"system:masters"\n{NODE},system:node:n1,n1,"system:nodes"\n', encoding="ascii"
        )
        etcd = f"--data-dir={directory}/etcd", f"--listen-client-urls={self._etcd_url}"
        more = f"--advertise-client-urls={self._etcd_url}", f"--listen-peer-urls=http://127.0.0.1:{peer}"
        self._etcd = self._run("etcd", *etcd, *more)
        self._server: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        here = self._directory
        self._server = self._run(
            "kube-apiserver",
            f"--etcd-servers={self._etcd_url}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--cert-dir={here}",
            f"--tls-cert-file={here}/server.crt",
            f"--tls-private-key-file={here}/server.key",
            f"--token-auth-file={here}/tokens.csv",
            "--authorization-mode=Node,RBAC",
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={here}/accounts.crt",
            f"--service-account-signing-key-file={here}/accounts.key",
            "--service-cluster-ip-range=10.96.0.0/24",
        )
        end = time.monotonic() + _START_SECONDS
        while not self._ready():
            assert self._server.poll() is None, (here / "kube-apiserver.log").read_text(errors="replace")[-2000:]
            assert time.monotonic() < end, "the API server does not become ready"
            time.sleep(0.2)

    def stop(self) -> None:
        """At once, as when it crashes."""
        server, self._server = self._server, None
        if server is not None:
            server.kill()
            server.wait()

    def close(self) -> None:
        self.stop()
        self._etcd.kill()
        self._etcd.wait()

    def compact(self) -> None:
        """etcd forgets all before this moment, as it does after five minutes."""
        current = json.loads(self._etcd_call("kv/range", {"key": base64.b64encode(b"/").decode()}))
        self._etcd_call("kv/compaction", {"revision": current["header"]["revision"], "physical": True})

    def kubeconfig(self, token: str) -> str:
        authority = base64.b64encode(self._authority.pem).decode()
        cluster = {"server": f"https://127.0.0.1:{self._port}", "certificate-authority-data": authority}
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": {"token": token}}],
            }
        )

    def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """As the administrator. Raises HTTPError."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(  # a URL of ours
            f"https://127.0.0.1:{self._port}{path}",
            json.dumps(body).encode() if body is not None else None,
            {"Authorization": f"Bearer {ADMIN}", "Content-Type": kind},
            method=method,
        )
        context = ssl.create_default_context(cadata=self._authority.pem.decode())
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:  # noqa: S310  # as above
            text = answer.read()
        found: Json = json.loads(text) if text.startswith(b"{") else {}
        return found

    def add_pod(self, name: str, ip: str, node: str = "n1", labels: dict[str, str] | None = None) -> None:
        spec = {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}
        metadata = {"name": name, "namespace": "default", "labels": labels or {}}
        self.call("POST", "/api/v1/namespaces/default/pods", {"metadata": metadata, "spec": spec})
        status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}
        self.call("PATCH", f"/api/v1/namespaces/default/pods/{name}/status", {"status": status})

    def delete_pod(self, name: str) -> None:
        self.call("DELETE", f"/api/v1/namespaces/default/pods/{name}?gracePeriodSeconds=0")

    def let_nodes_read_namespaces(self) -> None:
        path = "/apis/rbac.authorization.k8s.io/v1"
        rule = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]}
        self.call("POST", f"{path}/clusterroles", {"metadata": {"name": "egress-follower"}, "rules": [rule]})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "egress-follower"}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}
        body = {"metadata": {"name": "egress-follower"}, "roleRef": role, "subjects": [subject]}
        self.call("POST", f"{path}/clusterrolebindings", body)

    def _ready(self) -> bool:
        try:
            self.call("GET", "/readyz")
            self.call("GET", "/api/v1/namespaces/default")
        except OSError:
            return False
        return True

    def _etcd_call(self, what: str, body: Json) -> bytes:
        request = urllib.request.Request(f"{self._etcd_url}/v3/{what}", json.dumps(body).encode())  # noqa: S310  # ours
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # ours
            content: bytes = answer.read()
        return content

    def _run(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        found = program(name)
        assert found is not None
        with (self._directory / f"{name}.log").open("ab") as log:
            return subprocess.Popen([found, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _free_ports(count: int) -> list[int]:
    sockets: list[Any] = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports

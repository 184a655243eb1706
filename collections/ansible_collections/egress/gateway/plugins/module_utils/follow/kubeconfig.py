# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""A kubeconfig to the one cluster and user that its context names; what of it is not supported is told with its line.

Source: k8s.io/client-go, tools/clientcmd/api/v1/types.go.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ansible_collections.egress.gateway.plugins.module_utils.follow.errors import KubeconfigError, printable
from ansible_collections.egress.gateway.plugins.module_utils.follow.yaml_subset import Node, parse

_BYTES = 1 << 20
"""A larger file is no kubeconfig."""
EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_IGNORED = {"extensions", "disable-compression"}
_HEADER_VALUE = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Blob:
    """A file, or what would stand in it; neither where both are None."""

    path: str | None = None
    data: bytes | None = None

    def __bool__(self) -> bool:
        return self.path is not None or self.data is not None

    def read(self) -> bytes:
        """As it is now. Raises KubeconfigError."""
        if self.data is None and self.path is not None:
            return read_file(self.path)
        return self.data or b""


@dataclass(frozen=True)
class Cluster:
    secure: bool
    host: str
    port: int
    prefix: str
    """Of each path, without a slash at its end."""
    authority: Blob
    """PEM certificates; the system's where there is none."""
    insecure: bool
    """Whether the server's certificate is not checked."""
    server_name: str
    """The name that its certificate has to have."""

    @property
    def server(self) -> str:
        host = "[%s]" % self.host if ":" in self.host else self.host
        return "%s://%s:%d%s" % ("https" if self.secure else "http", host, self.port, self.prefix)


@dataclass(frozen=True)
class Exec:
    """A program that prints a credential."""

    version: str
    command: str
    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    provide_cluster: bool
    hint: str


@dataclass(frozen=True)
class User:
    certificate: Blob
    key: Blob
    token: str | None
    token_file: str | None
    """What it has goes before ``token``."""
    exec: Exec | None


@dataclass(frozen=True)
class Kubeconfig:
    cluster: Cluster
    user: User


def read_file(path: str) -> bytes:
    """Raises KubeconfigError; also for what is too large to be a key, certificate, token or kubeconfig."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_BYTES + 1)
    except OSError as error:
        raise KubeconfigError("%s: %s" % (path, error.strerror or error)) from error
    if len(content) > _BYTES:
        raise KubeconfigError("%s: larger than %d bytes" % (path, _BYTES))
    return content


def load_kubeconfig(path: str, context: str | None = None) -> Kubeconfig:
    """Of the current context, or the one that is named. Raises KubeconfigError; reads no other file."""
    try:
        text = read_file(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise KubeconfigError("%s: byte %d is no UTF-8" % (path, error.start)) from error
    return parse_kubeconfig(text, path, context)


def parse_kubeconfig(text: str, path: str, context: str | None = None) -> Kubeconfig:
    """The same of its text. ``path`` is where it lies: other files are named from there."""
    root = _Map(parse(text, path), path, "the kubeconfig")
    root.exactly("apiVersion", "v1")
    root.exactly("kind", "Config")
    chosen = context or root.text("current-context")
    if chosen is None:
        raise root.error("no current-context, and none is named")
    pair = root.named("contexts", "context", chosen)
    cluster = root.named("clusters", "cluster", pair.needed("cluster"))
    user = root.named("users", "user", pair.needed("user"))
    read = Kubeconfig(_cluster(cluster), _user(user))
    if not read.cluster.secure and (read.user.token or read.user.token_file or read.user.exec or read.user.certificate):
        raise cluster.error("a credential would be sent without TLS: server has to begin with https://")
    return read


class _Map:
    """A mapping of the file, whose values are asked by key."""

    def __init__(self, node: Node, file: str, what: str) -> None:
        self.file = file
        self.line = node.line
        self.what = what
        if not isinstance(node.value, dict):
            raise self.error("%s should be a mapping" % what)
        self.nodes: Mapping[str, Node] = node.value

    def error(self, message: str, key: str | None = None) -> KubeconfigError:
        line = self.nodes[key].line if key is not None else self.line
        return KubeconfigError("%s:%d: %s" % (self.file, line, printable(message)))

    def only(self, *keys: str) -> None:
        """An unknown key might be a credential, or a condition on one: going on without it would puzzle people."""
        for key in self.nodes:
            if key not in keys and key not in _IGNORED and self.nodes[key].value not in (None, {}, []):
                raise self.error("%s of %s is not supported" % (key, self.what), key)

    def text(self, key: str) -> str | None:
        """None where it is absent or empty."""
        value = self.nodes[key].value if key in self.nodes else None
        if value is not None and not isinstance(value, str):
            raise self.error("%s should be text" % key, key)
        return value or None

    def needed(self, key: str) -> str:
        found = self.text(key)
        if found is None:
            raise self.error("%s has no %s" % (self.what, key))
        return found

    def exactly(self, key: str, *values: str) -> str:
        if self.text(key) not in values:
            raise self.error("%s is not %s" % (key, " or ".join(values)), key if key in self.nodes else None)
        return self.needed(key)

    def flag(self, key: str) -> bool:
        text = self.text(key)
        if text not in (None, "true", "false") or (text and self.nodes[key].quoted):
            raise self.error("%s should be true or false" % key, key)
        return text == "true"

    def blob(self, key: str) -> Blob:
        """Of ``key``, a path, and ``key``-data, base64, which goes before it as kubectl has it."""
        encoded = self.text(key + "-data")
        if encoded is not None:
            try:
                return Blob(data=base64.b64decode("".join(encoded.split()), validate=True))
            except (binascii.Error, ValueError) as error:
                raise self.error("%s-data is not base64: %s" % (key, error), key + "-data") from error
        path = self.text(key)
        return Blob(path=self.path(path)) if path is not None else Blob()

    def path(self, text: str) -> str:
        """Relative ones begin at the kubeconfig's directory."""
        return str(Path(self.file).absolute().parent / text)

    def items(self, key: str) -> list[Node]:
        node = self.nodes.get(key)
        if node is None or node.value is None:
            return []
        if not isinstance(node.value, list):
            raise self.error("%s should be a list" % key, key)
        return node.value

    def named(self, key: str, inner: str, name: str) -> _Map:
        """``inner`` of the one entry of that name in the list ``key``."""
        entries = [_Map(node, self.file, "an entry of %s" % key) for node in self.items(key)]
        fitting = [entry for entry in entries if entry.text("name") == name]
        if not fitting:
            names = ", ".join(sorted(filter(None, (entry.text("name") for entry in entries)))) or "none at all"
            raise self.error("no %s %s; there is %s" % (inner, name, names))
        if len(fitting) > 1:
            raise fitting[1].error("the %s %s is there twice" % (inner, name))
        node = fitting[0].nodes.get(inner)
        if node is None:
            raise fitting[0].error("the %s %s is empty" % (inner, name))
        # A user with no credential at all is written as {} or null.
        return _Map(node if node.value is not None else Node({}, node.line), self.file, "the %s %s" % (inner, name))


def _cluster(found: _Map) -> Cluster:
    found.only(
        "server",
        "certificate-authority",
        "certificate-authority-data",
        "insecure-skip-tls-verify",
        "tls-server-name",
    )
    server = found.needed("server")
    try:
        url = urlsplit(server)
        host, port = url.hostname, url.port
    except ValueError as error:
        raise found.error("server is no URL: %s" % error, "server") from error
    if url.scheme not in ("https", "http") or not host or url.username or url.query or url.fragment:
        raise found.error("server should be https://HOST:PORT", "server")
    if not _HEADER_VALUE.fullmatch(server):
        raise found.error("server has characters that a URL has not", "server")
    authority, insecure = found.blob("certificate-authority"), found.flag("insecure-skip-tls-verify")
    if authority and insecure:
        raise found.error("insecure-skip-tls-verify beside a certificate-authority", "insecure-skip-tls-verify")
    secure = url.scheme == "https"
    return Cluster(
        secure=secure,
        host=host,
        port=port or (443 if secure else 80),
        prefix=url.path.rstrip("/"),
        authority=authority,
        insecure=insecure,
        server_name=found.text("tls-server-name") or host,
    )


def _user(found: _Map) -> User:
    found.only(
        "client-certificate",
        "client-certificate-data",
        "client-key",
        "client-key-data",
        "token",
        "tokenFile",
        "exec",
    )
    certificate, key = found.blob("client-certificate"), found.blob("client-key")
    if bool(certificate) != bool(key):
        raise found.error("%s has one of client-certificate and client-key; they go together" % found.what)
    token, token_file = found.text("token"), found.text("tokenFile")
    if token is not None and not _HEADER_VALUE.fullmatch(token):
        raise found.error("token has characters that no token has", "token")
    plugin = found.nodes["exec"] if "exec" in found.nodes and found.nodes["exec"].value is not None else None
    if plugin is not None and (certificate or token or token_file):
        raise found.error("exec beside another credential", "exec")
    return User(
        certificate=certificate,
        key=key,
        token=token,
        token_file=found.path(token_file) if token_file else None,
        exec=_exec(_Map(plugin, found.file, "exec of %s" % found.what)) if plugin is not None else None,
    )


def _exec(found: _Map) -> Exec:
    found.only("apiVersion", "command", "args", "env", "installHint", "interactiveMode", "provideClusterInfo")
    version = found.exactly("apiVersion", *EXEC_VERSIONS)
    mode = found.text("interactiveMode")
    if mode is None and version == EXEC_VERSIONS[0]:
        raise found.error("%s has no interactiveMode" % found.what)
    if mode not in (None, "Never", "IfAvailable"):
        raise found.error("interactiveMode is %s, but nobody sits here" % mode, "interactiveMode")
    command = found.needed("command")
    arguments = []
    for node in found.items("args"):
        if not isinstance(node.value, str):
            raise KubeconfigError("%s:%d: an argument should be text" % (found.file, node.line))
        arguments.append(node.value)
    variables = [_Map(node, found.file, "a variable of env") for node in found.items("env")]
    return Exec(
        version=version,
        # A bare name is looked for in PATH.
        command=found.path(command) if "/" in command else command,
        arguments=tuple(arguments),
        environment=tuple((one.needed("name"), one.text("value") or "") for one in variables),
        provide_cluster=found.flag("provideClusterInfo"),
        hint=printable(found.text("installHint") or ""),
    )

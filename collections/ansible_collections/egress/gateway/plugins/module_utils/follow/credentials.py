# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What a connection presents at this moment: files are read for each, plugins run when their credential has ended.

So a certificate, key, token or whole kubeconfig that is replaced is in use from the next connection on.
"""

from __future__ import annotations

import base64
import calendar
import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.follow.errors import (
    CredentialError,
    KubeconfigError,
    printable,
)
from ansible_collections.egress.gateway.plugins.module_utils.follow.kubeconfig import (
    Blob,
    Cluster,
    Exec,
    Kubeconfig,
    User,
    load_kubeconfig,
    read_file,
)

_PLUGIN_SECONDS = 30.0
_TOKEN = re.compile(r"[!-~]+")
_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))")

Run = Callable[[Exec, Cluster], str]
"""Runs a plugin and returns what it prints; raises CredentialError."""


@dataclass(frozen=True)
class Access:
    """Where to connect, and with what."""

    cluster: Cluster
    tls: ssl.SSLContext | None
    token: str | None


@dataclass(frozen=True)
class _Issued:
    """What a plugin gave, for as long as ``until`` (seconds since 1970; None: for ever)."""

    plugin: Exec
    token: str | None
    certificate: bytes | None
    key: bytes | None
    until: float | None


class Credentials:
    """Those of a kubeconfig. Threads may share it; the plugin runs once for all of them."""

    def __init__(
        self, kubeconfig: str, context: str | None = None, wall: Callable[[], float] = time.time, run: Run | None = None
    ) -> None:
        self._path = kubeconfig
        self._context = context
        self._wall = wall
        self._run: Run = run or run_plugin
        self._lock = threading.Lock()
        self._issued: _Issued | None = None

    def access(self) -> Access:
        """Raises KubeconfigError or CredentialError."""
        config = load_kubeconfig(self._path, self._context)
        user = config.user
        certificate, key, token = user.certificate, user.key, _token(user)
        if user.exec is not None:
            with self._lock:
                issued = self._current(user.exec, config)
            certificate, key, token = Blob(data=issued.certificate), Blob(data=issued.key), issued.token
        tls = _context(config.cluster, certificate, key) if config.cluster.secure else None
        return Access(config.cluster, tls, token)

    def rejected(self, access: Access) -> None:
        """The server did not accept ``access``: what a plugin gave for it is not given again."""
        with self._lock:
            if self._issued is not None and self._issued.token == access.token:
                self._issued = None

    def _current(self, plugin: Exec, config: Kubeconfig) -> _Issued:
        old = self._issued
        if old is None or old.plugin != plugin or (old.until is not None and old.until <= self._wall()):
            self._issued = None
            self._issued = old = _issued(plugin, self._run(plugin, config.cluster))
        return old


def _token(user: User) -> str | None:
    if user.token_file is None:
        return user.token
    try:
        token = read_file(user.token_file).decode("ascii", "replace").strip()
    except KubeconfigError:
        if user.token is None:
            raise
        return user.token
    if not _TOKEN.fullmatch(token):
        raise KubeconfigError("%s: there is no token in it" % user.token_file)
    return token


def _context(cluster: Cluster, certificate: Blob, key: Blob) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cluster.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif cluster.authority:
        try:
            context.load_verify_locations(cadata=cluster.authority.read().decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise KubeconfigError("%s: no certificates in PEM" % _shown(cluster.authority, "certificate")) from error
    else:
        context.load_default_certs()
    if certificate:
        _load_pair(context, certificate, key)
    return context


def _load_pair(context: ssl.SSLContext, certificate: Blob, key: Blob) -> None:
    """OpenSSL takes them from files only; these are in memory, and nobody else can open them."""
    try:
        with _file(certificate) as first, _file(key) as second:
            # Without a function that gives a password OpenSSL would ask for it on the terminal.
            context.load_cert_chain(first, second, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        what = "%s, %s" % (_shown(certificate, "client certificate"), _shown(key, "client key"))
        raise KubeconfigError("%s: no certificate with its key in PEM, or not of each other" % what) from error


@contextlib.contextmanager
def _file(blob: Blob) -> Iterator[str]:
    content = blob.read()
    file = os.memfd_create("credential", os.MFD_CLOEXEC)
    try:
        with os.fdopen(file, "wb", closefd=False) as out:
            out.write(content)
        yield "/proc/self/fd/%d" % file
    finally:
        os.close(file)


def _shown(blob: Blob, what: str) -> str:
    return blob.path if blob.path is not None else "the %s's data" % what


def run_plugin(plugin: Exec, cluster: Cluster, seconds: float = _PLUGIN_SECONDS) -> str:
    """What it prints. Raises CredentialError."""
    spec: dict[str, Any] = {"interactive": False}
    if plugin.provide_cluster:
        spec["cluster"] = _cluster_info(cluster)
    information = {"apiVersion": plugin.version, "kind": "ExecCredential", "spec": spec}
    environment = {**os.environ, **dict(plugin.environment), "KUBERNETES_EXEC_INFO": json.dumps(information)}
    try:
        process = subprocess.Popen(
            [plugin.command, *plugin.arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CredentialError("%s: %s%s" % (plugin.command, reason, _hint(plugin))) from error
    with process:
        try:
            out, told = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            # With its children, which have its output open and would be waited for.
            os.killpg(process.pid, signal.SIGKILL)
            raise CredentialError("%s: no credential within %g s" % (plugin.command, seconds)) from error
    if process.returncode != 0:
        said = printable(told.decode("utf-8", "replace")) or "without a word"
        raise CredentialError("%s failed with status %d: %s" % (plugin.command, process.returncode, said))
    return out.decode("utf-8", "replace")


def _hint(plugin: Exec) -> str:
    return "; its hint: " + plugin.hint if plugin.hint else ""


def _cluster_info(cluster: Cluster) -> dict[str, Any]:
    info: dict[str, Any] = {"server": cluster.server, "insecure-skip-tls-verify": cluster.insecure}
    if cluster.server_name != cluster.host:
        info["tls-server-name"] = cluster.server_name
    if cluster.authority:
        info["certificate-authority-data"] = base64.b64encode(cluster.authority.read()).decode("ascii")
    return info


def _issued(plugin: Exec, printed: str) -> _Issued:
    """Raises CredentialError; what was printed is a secret and is not told."""
    try:
        answer = json.loads(printed)
        status = answer["status"]
        versions = (answer["apiVersion"], answer["kind"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CredentialError("%s: it printed no ExecCredential with a status" % plugin.command) from error
    if versions != (plugin.version, "ExecCredential") or not isinstance(status, dict):
        raise CredentialError("%s: it printed no ExecCredential of %s" % (plugin.command, plugin.version))
    token, certificate, key = (_word(status, name) for name in ("token", "clientCertificateData", "clientKeyData"))
    if (certificate is None) != (key is None) or (token is None and certificate is None):
        raise CredentialError("%s: it gave neither a token nor a certificate with its key" % plugin.command)
    if token is not None and not _TOKEN.fullmatch(token):
        raise CredentialError("%s: its token has characters that no token has" % plugin.command)
    until = _word(status, "expirationTimestamp")
    try:
        end = seconds_of(until) if until is not None else None
    except ValueError as error:
        raise CredentialError("%s: its expirationTimestamp is no time" % plugin.command) from error
    return _Issued(plugin, token, _bytes(certificate), _bytes(key), end)


def _word(status: Mapping[str, Any], name: str) -> str | None:
    value = status.get(name)
    return value if isinstance(value, str) and value else None


def _bytes(text: str | None) -> bytes | None:
    return text.encode("utf-8", "replace") if text is not None else None


def seconds_of(text: str) -> float:
    """Of a time as RFC 3339 writes it, since 1970. ValueError for others."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("%r" % text)
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if not (year >= 1970 and 1 <= month <= 12 and 1 <= day <= 31 and hour <= 24 and minute < 60 and second <= 60):
        raise ValueError("%r" % text)
    sign, hours, minutes = match.groups()[6:]
    offset = 0 if sign is None else (3600 * int(hours) + 60 * int(minutes)) * (1 if sign == "+" else -1)
    return float(calendar.timegm((year, month, day, hour, minute, second)) - offset)

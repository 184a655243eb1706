# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""What is presented to a server, and when a plugin runs again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.follow.credentials import (
    Credentials,
    run_plugin,
    seconds_of,
)
from ansible_collections.egress.gateway.plugins.module_utils.follow.errors import CredentialError, KubeconfigError
from ansible_collections.egress.gateway.plugins.module_utils.follow.kubeconfig import Blob, Cluster, Exec

V1 = "client.authentication.k8s.io/v1"
CLUSTER = Cluster(True, "h", 443, "", Blob(data=b"PEM"), False, "api.test")


def kubeconfig(directory: Path, user: dict[str, Any]) -> str:
    path = directory / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://h", "insecure-skip-tls-verify": True}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def printed(version: str = V1, **status: Any) -> str:
    return json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status})


class Plugin:
    """Gives tokens t1, t2 and so on, each good until ``ends``."""

    def __init__(self, ends: str | None = None) -> None:
        self.ends = ends
        self.runs = 0

    def __call__(self, _plugin: Exec, _cluster: Cluster) -> str:
        self.runs += 1
        return printed(token="t%d" % self.runs, **({"expirationTimestamp": self.ends} if self.ends else {}))


EXEC = {"exec": {"apiVersion": V1, "command": "get-token", "interactiveMode": "Never"}}


def test_a_plugin_runs_again_when_its_credential_ends(tmp_path: Path) -> None:
    now, plugin = [999.0], Plugin("1970-01-01T00:16:40Z")
    credentials = Credentials(kubeconfig(tmp_path, EXEC), wall=lambda: now[0], run=plugin)
    assert [credentials.access().token for dummy in range(2)] == ["t1", "t1"]
    now[0] = 1000.0
    plugin.ends = None
    assert [credentials.access().token for dummy in range(2)] == ["t2", "t2"]


def test_a_plugin_runs_again_when_its_credential_is_refused_or_it_is_another(tmp_path: Path) -> None:
    plugin = Plugin()
    credentials = Credentials(kubeconfig(tmp_path, EXEC), run=plugin)
    first = credentials.access()
    credentials.rejected(first)
    second = credentials.access()
    credentials.rejected(first)  # another thread comes late with the same news
    assert (second.token, credentials.access().token) == ("t2", "t2")
    kubeconfig(tmp_path, {"exec": {**EXEC["exec"], "args": ["--other"]}})
    assert credentials.access().token == "t3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no ExecCredential with a status"),
        ("[]", "no ExecCredential with a status"),
        ("[" * 100_000, "no ExecCredential with a status"),
        (printed(), "neither a token nor a certificate"),
        (printed(token=5), "neither a token nor a certificate"),
        (printed(clientCertificateData="x"), "neither a token nor a certificate"),
        (printed("client.authentication.k8s.io/v1beta1", token="t"), "no ExecCredential of " + V1),
        (printed(token="a\r\nHost: b"), "characters that no token has"),
        (printed(token="t", expirationTimestamp="soon"), "expirationTimestamp is no time"),
        (printed(clientCertificateData="x", clientKeyData="y"), "no certificate with its key in PEM"),
    ],
)
def test_what_a_plugin_should_not_print(tmp_path: Path, text: str, message: str) -> None:
    credentials = Credentials(kubeconfig(tmp_path, EXEC), run=lambda *_: text)
    with pytest.raises((CredentialError, KubeconfigError), match=message):
        credentials.access()


def plugin(tmp_path: Path, body: str, **more: Any) -> Exec:
    path = tmp_path / "plugin"
    path.write_text("#!/bin/sh\n" + body, encoding="ascii")
    path.chmod(0o755)
    fields = {"arguments": (), "environment": (), "provide_cluster": False, "hint": "", **more}
    return Exec(version=V1, command=str(path), **fields)


def test_what_a_plugin_gets(tmp_path: Path) -> None:
    one = plugin(
        tmp_path,
        'echo "$1 $SETTING"; echo "$KUBERNETES_EXEC_INFO"',
        arguments=("a b",),
        environment=(("SETTING", "c"),),
        provide_cluster=True,
    )
    first, second = run_plugin(one, CLUSTER).splitlines()
    assert first == "a b c"
    spec = json.loads(second)["spec"]
    assert spec["cluster"] == {
        "server": "https://h:443",
        "insecure-skip-tls-verify": False,
        "tls-server-name": "api.test",
        "certificate-authority-data": "UEVN",
    }


def test_a_plugin_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match="failed with status 3: not logged in"):
        run_plugin(plugin(tmp_path, "echo not logged in >&2; exit 3"), CLUSTER)
    missing = Exec(V1, str(tmp_path / "none"), (), (), False, "install it")
    with pytest.raises(CredentialError, match="No such file or directory; its hint: install it"):
        run_plugin(missing, CLUSTER)


def test_a_plugin_that_hangs_goes_with_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(CredentialError, match=r"no credential within 0\.3 s"):
        run_plugin(plugin(tmp_path, "sleep 60 & echo $! >%s; wait" % pid), CLUSTER, 0.3)
    end = time.monotonic() + 10
    while Path("/proc", pid.read_text(encoding="ascii").strip(), "cmdline").exists():
        if b"sleep" not in Path("/proc", pid.read_text(encoding="ascii").strip(), "cmdline").read_bytes():
            break
        assert time.monotonic() < end


def test_token_files_are_read_anew(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("one\n", encoding="ascii")
    credentials = Credentials(kubeconfig(tmp_path, {"token": "fixed", "tokenFile": "t"}))
    assert credentials.access().token == "one"
    (tmp_path / "t").write_text("two", encoding="ascii")
    assert credentials.access().token == "two"
    (tmp_path / "t").unlink()
    assert credentials.access().token == "fixed"
    (tmp_path / "t").write_text("", encoding="ascii")
    with pytest.raises(KubeconfigError, match="there is no token in it"):
        credentials.access()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02T00:00:00Z", 86400),
        ("2026-12-01T10:00:00+02:00", 1796112000),
        ("2026-12-01T08:00:00.5Z", 1796112000),
        ("2026-12-01t03:30:00-04:30", 1796112000),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "2026-12-01", "2026-13-01T00:00:00Z", "2026-12-01T00:00:00", "0000-00-00T00:00:00Z"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=text or "''"):
        seconds_of(text)

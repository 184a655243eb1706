# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Kubeconfigs as tools and people write them, and what is told of others."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.follow.errors import KubeconfigError
from ansible_collections.egress.gateway.plugins.module_utils.follow.kubeconfig import (
    Blob,
    Kubeconfig,
    load_kubeconfig,
    parse_kubeconfig,
)

KUBELET = """\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: Q0E=
    server: https://10.0.0.1:6443
  name: default-cluster
contexts:
- context:
    cluster: default-cluster
    namespace: default
    user: default-auth
  name: default-context
current-context: default-context
kind: Config
preferences: {}
users:
- name: default-auth
  user:
    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem
    client-key: /var/lib/kubelet/pki/kubelet-client-current.pem
"""

EXEC = """\
# written by hand
apiVersion: v1
kind: "Config"
current-context: 'eks'
clusters:
  - name: eks
    cluster: {server: "https://[fd00::1]/k8s/clusters/c-1/", tls-server-name: api.example.org}   # a flow mapping
contexts:
  - {name: eks, context: {cluster: eks, user: eks}}
users:
  - name: eks
    user:
      exec:
        apiVersion: client.authentication.k8s.io/v1beta1
        command: bin/aws
        args: ["eks", get-token,
               --cluster-name, 'it''s']
        env:
        - name: AWS_PROFILE
          value: "ops\\u00e9"
        - name: EMPTY
          value: ""
        interactiveMode: IfAvailable
        installHint: |
          Install aws,
          then try again.
        provideClusterInfo: true
"""


def made(user: str = "{}", cluster: str = "{server: 'https://h'}", more: str = "") -> str:
    return (
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        "contexts:\n- {name: c, context: {cluster: c, user: u}}\n"
        "clusters:\n- name: c\n  cluster: %s\nusers:\n- name: u\n  user: %s\n%s" % (cluster, user, more)
    )


def read(text: str, context: str | None = None) -> Kubeconfig:
    return parse_kubeconfig(text, "/etc/kubernetes/f", context)


def test_a_kubelets_own() -> None:
    config = read(KUBELET)
    assert config.cluster.server == "https://10.0.0.1:6443"
    assert config.cluster.authority == Blob(data=b"CA")
    assert config.cluster.server_name == "10.0.0.1"
    assert config.user.certificate == config.user.key == Blob(path="/var/lib/kubelet/pki/kubelet-client-current.pem")


def test_a_plugin_and_flow_collections() -> None:
    config = read(EXEC)
    assert config.cluster.server == "https://[fd00::1]:443/k8s/clusters/c-1"
    assert config.cluster.server_name == "api.example.org"
    plugin = config.user.exec
    assert plugin is not None
    assert plugin.command == "/etc/kubernetes/bin/aws"
    assert plugin.arguments == ("eks", "get-token", "--cluster-name", "it's")
    assert plugin.environment == (("AWS_PROFILE", "ops\u00e9"), ("EMPTY", ""))
    assert plugin.hint == "Install aws, then try again."
    assert plugin.provide_cluster


def test_json_is_yaml() -> None:
    text = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": "https://h:1", "insecure-skip-tls-verify": True}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "extensions": [{"name": "x", "extension": {"n": 1.5, "none": None, "list": [[], {}]}}],
        },
        indent="\t",
    )
    config = read(text)
    assert (config.cluster.insecure, config.user.token) == (True, "t")


def test_relative_files_lie_beside_the_kubeconfig() -> None:
    config = read(
        made("{client-certificate: a.crt, client-key: ../b.key}", "{server: 'https://h', certificate-authority: ca}")
    )
    assert config.user.certificate.path == "/etc/kubernetes/a.crt"
    assert config.user.key.path == "/etc/kubernetes/../b.key"
    assert config.cluster.authority.path == "/etc/kubernetes/ca"


def test_another_context() -> None:
    text = (
        made()
        .replace("contexts:\n", "contexts:\n- {name: other, context: {cluster: d, user: u}}\n")
        .replace("clusters:\n", "clusters:\n- {name: d, cluster: {server: 'https://d'}}\n")
    )
    assert read(text, "other").cluster.host == "d"
    assert read(text).cluster.host == "h"


REFUSED = [
    ("a: &x b\n", 1, "an anchor is not read"),
    ("a: b\nc: *x\n", 2, "an alias is not read"),
    ("a: !!binary b\n", 1, "a tag is not read"),
    ("? a\n: b\n", 1, "a complex key is not read"),
    ("<<: a\n", 1, "a merge key is not read"),
    ("%YAML 1.1\n---\na: b\n", 1, "a directive is not read"),
    ("a: b\n---\nc: d\n", 2, "a key and a colon should be here"),
    ("a:\n\t- b\n", 2, "a tab; YAML is indented with spaces"),
    ("a: b\n  c\n", 2, "this is indented too far, or goes on from the line above, which is not read"),
    ("a:\n    b: c\n  d: e\n", 3, "this is indented too far, or goes on from the line above, which is not read"),
    ("a: b\na: c\n", 2, "'a' is there twice"),
    ("a: {b: c, b: d}\n", 1, "'b' is there twice"),
    ("a: b: c\n", 1, "'b: c' needs quotes"),
    ('a: "b\n  c"\n', 1, "the quote does not end on this line"),
    ('a: "b" c\n', 1, "'c' is too much"),
    ('a: "\\q"\n', 1, "the escape \\q is not read"),
    ("a: [b, c\n\n", 2, "the file ends within brackets"),
    ("a: {b}\n", 1, "a key and a colon should be here"),
    ("a: |2\n  b\n", 1, "an indentation indicator is not read"),
    ("a: b\x07\n", 1, "the character U+0007 is not read"),
    ("[" * 50, 1, "nested too deeply"),
    ("- " * 50 + "a", 1, "nested too deeply"),
    ("a\n", 1, "the kubeconfig should be a mapping"),
    ("", 1, "the kubeconfig should be a mapping"),
    ("a: b\n", 1, "apiVersion is not v1"),
    (made(more="kind: Config\n"), 12, "'kind' is there twice"),
    (made().replace("current-context: c", "current-context: d"), 1, "no context d; there is c"),
    (made().replace("current-context: c\n", ""), 1, "no current-context, and none is named"),
    (made().replace("- name: u", "- name: v"), 1, "no user u; there is v"),
    (made().replace("users:\n", "users:\n- {name: u, user: {}}\n"), 11, "the user u is there twice"),
    (made(cluster="{}"), 8, "the cluster c has no server"),
    (made(cluster="{server: 'ftp://h'}"), 8, "server should be https://HOST:PORT"),
    (made(cluster="{server: 'https://h:x'}"), 8, "server is no URL: "),
    (made(cluster="{server: 'https://h', proxy-url: 'http://p'}"), 8, "proxy-url of the cluster c is not supported"),
    (made(cluster="{server: 'https://h', insecure-skip-tls-verify: maybe}"), 8, "insecure-skip-tls-verify should be"),
    (
        made(cluster="{server: 'https://h', certificate-authority-data: '*'}"),
        8,
        "certificate-authority-data is not base64",
    ),
    (made("{token: t}", "{server: 'http://h'}"), 8, "a credential would be sent without TLS"),
    (made("{username: a, password: b}"), 11, "username of the user u is not supported"),
    (made("{auth-provider: {name: gcp}}"), 11, "auth-provider of the user u is not supported"),
    (made("{as: admin}"), 11, "as of the user u is not supported"),
    (made("{client-certificate: a}"), 11, "one of client-certificate and client-key"),
    (made('{token: "a\\nb: c"}'), 11, "token has characters that no token has"),
    (made("{token: [a]}"), 11, "token should be text"),
    (made("{exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: a}}"), 11, "apiVersion is not client"),
    (made("{exec: {apiVersion: client.authentication.k8s.io/v1, command: a}}"), 11, "no interactiveMode"),
    (
        made("{exec: {apiVersion: client.authentication.k8s.io/v1, command: a, interactiveMode: Always}}"),
        11,
        "interactiveMode is Always, but nobody sits here",
    ),
]


@pytest.mark.parametrize(("text", "line", "message"), REFUSED)
def test_what_is_refused_is_told_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(KubeconfigError) as error:
        read(text)
    assert str(error.value).startswith("/etc/kubernetes/f:%d: " % line), error.value
    assert message in str(error.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * (1 << 21)])
def test_files_that_are_none(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(KubeconfigError, match=str(tmp_path / "f")):
        load_kubeconfig(str(tmp_path / "f"))
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(KubeconfigError, match=str(tmp_path / "f")):
        load_kubeconfig(str(tmp_path / "f"))


@pytest.mark.parametrize("text", [KUBELET, EXEC, made("{token: t}")])
def test_damaged_files_are_refused_and_nothing_else(text: str) -> None:
    """Each prefix, and each file without one of its characters or with another in its place."""
    for index in range(len(text)):
        for damaged in (text[:index], text[:index] + text[index + 1 :], text[:index] + "[" + text[index + 1 :]):
            with contextlib.suppress(KubeconfigError):
                read(damaged)


def test_data_goes_before_a_file() -> None:
    data = base64.b64encode(b"PEM").decode()
    config = read(
        made(cluster="{server: 'https://h', certificate-authority: ca, certificate-authority-data: %s}" % data)
    )
    assert config.cluster.authority == Blob(data=b"PEM")

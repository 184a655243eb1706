"""A small valid run, and strategies that spoil it: bytes, text, values, names."""

import copy
import json
import os
from collections.abc import Iterator
from typing import Any

import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

Json = Any
Steps = tuple[str | int, ...]

EXAMPLES = int(os.environ.get("EGRESS_FUZZ_EXAMPLES", "0"))
"""Of each test; without the variable each has its own number, all together a matter of seconds."""


def examples(number: int) -> Any:
    """Settings for one test; nothing here may take seconds, whatever the input."""
    return settings(
        max_examples=EXAMPLES or number,
        deadline=10_000,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )


API = "egressgateway.spidernet.io/v1beta1"


def _object(kind: str, name: str, spec: Json, namespace: str = "") -> Json:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


POLICIES: list[Json] = [
    _object(
        "EgressGateway",
        "internet",
        {
            "clusterDefault": True,
            "ippools": {
                "ipv4": ["10.6.1.60-10.6.1.63"],
                "ipv6": ["fd00:6::60", "fd00:6::61-fd00:6::63"],
                "ipv4DefaultEIP": "10.6.1.61",
            },
            "nodeSelector": {"policy": "AverageSelection", "selector": {"matchLabels": {"egress": "true"}}},
        },
    ),
    _object(
        "EgressPolicy",
        "web",
        {
            "egressGatewayName": "internet",
            "egressIP": {"allocatorPolicy": "rr", "useNodeIP": False},
            "appliedTo": {
                "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "api"]}]}
            },
            "destSubnet": ["203.0.113.0/24", "2001:db8::/32", "198.51.100.1-198.51.100.9"],
            "priority": 100,
        },
        "shop",
    ),
    _object(
        "EgressClusterPolicy",
        "all",
        {
            "egressIP": {"ipv4": "10.6.1.60"},
            "appliedTo": {"podSubnet": ["10.244.0.0/16"], "namespaceSelector": {"matchLabels": {"team": "shop"}}},
        },
    ),
    _object(
        "EgressClusterInfo",
        "default",
        {"autoDetect": {"podCidrMode": "auto", "clusterIP": True}, "extraCidr": ["10.20.0.0/16"]},
    ),
]
POLICIES[1]["metadata"]["annotations"] = {
    "egressgateway.spidernet.io/description": "the shop's front",
    "egressgateway.spidernet.io/accept-warnings": "equal-priority: it is meant",
}


def _node(name: str, number: int, **labels: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDRs": [f"10.244.{number}.0/24", f"fd00:244:{number}::/64"]},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": f"10.6.1.{number}"},
                {"type": "InternalIP", "address": f"fd00:6::{number}"},
            ]
        },
    }


def _pod(name: str, number: int, app: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": app}},
        "spec": {"nodeName": "worker"},
        "status": {"phase": "Running", "podIPs": [{"ip": f"10.244.3.{number}"}, {"ip": f"fd00:244:3::{number}"}]},
    }


CLUSTER: Json = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        _node("gate", 1, egress="true"),
        _node("worker", 3),
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "shop"}}},
        _pod("web-1", 10, "web"),
        _pod("api-1", 11, "api"),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"clusterIPs": ["10.96.0.7"]},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": ["10.96.0.0/16"]},
        },
    ],
}
SETTINGS: Json = {
    "interface": "eth0",
    "uplinkMTU": 1500,
    "uplinkCIDRs": ["10.6.1.0/24", "fd00:6::/64"],
    "serviceCIDRs": ["10.96.0.0/16"],
    "tunnel": {"vni": 100, "ipv4Subnet": "172.31.0.0/16"},
    "vrrp": {"advertIntervalMs": 200},
}
LOCK: Json = {
    "version": 1,
    "nodes": {"gate": 1, "worker": 2},
    "gateways": {"internet": {"ipv4DefaultEIP": "10.6.1.61"}},
    "slots": {"internet/gate": {"slot": 1, "vrid": 1, "vip": 1}},
    "eips": {"internet/10.6.1.60": {"node": "gate", "pinned": True}},
    "policies": {"EgressPolicy shop/web": {"gateway": "internet", "ipv4": "10.6.1.62", "ipv6": "fd00:6::62"}},
}


INVENTORY: Json = {
    "all": {
        "vars": {"egress_mtu": 1500, "egress_uplink_cidrs": ["10.6.1.0/24"]},
        "hosts": {"gate": {"egress_interface": "eth0"}, "worker": {"egress_node_name": "worker"}},
    }
}
STATUSES: Json = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        POLICIES[1] | {"status": {"eip": {"ipv4": "10.6.1.62", "ipv6": "fd00:6::62"}, "node": "gate"}},
        POLICIES[2] | {"status": {"eip": {"ipv4": "10.6.1.60", "ipv6": "fd00:6::60"}, "node": "gate"}},
        POLICIES[0]
        | {
            "status": {
                "nodeList": [
                    {
                        "name": "gate",
                        "status": "Ready",
                        "eips": [{"ipv4": "10.6.1.62", "policies": [{"name": "web", "namespace": "shop"}]}],
                    }
                ],
                "ipUsage": {"ipv4Total": 4, "ipv4Free": 2},
            }
        },
    ],
}


def policies_text(documents: list[Json]) -> str:
    return "---\n".join(yaml.safe_dump(document, allow_unicode=True) for document in documents)


HOSTILE = (
    "a\nb",
    'x" ; reboot ; "',
    "$(reboot)",
    "`reboot`",
    "{{ 7 * 7 }}",
    "{% for x in y %}",
    "\x1b[31mred",
    "\u202egnp",
    "} flush ruleset {",
    "accept # comment",
    "!include /etc/passwd",
    "../../etc/passwd",
    "::error file=x::y",
    "##[error]x",
    "\\",
    "\x00",
    "\u2028",
    "notify /bin/sh",
    "a" * 300,
    "-",
    "",
    "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
)
"""What nft, ip, keepalived, a shell, jinja, a terminal or a CI runner could take for something else."""

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(HOSTILE),
    st.sampled_from(
        ("10.6.1.60", "10.6.1.0/24", "::1", "0.0.0.0/0", "::/0", "10.6.1.9-10.6.1.1", "01.2.3.4", "on", "010")
    ),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6) | st.sampled_from(HOSTILE), inner, max_size=4)
    ),
    max_leaves=6,
)


def paths_in(data: Json, path: Steps = ()) -> Iterator[Steps]:
    """Of every value in ``data``."""
    yield path
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        yield from paths_in(value, (*path, key))


@st.composite
def spoilt(draw: st.DrawFn, data: Json) -> Json:
    """``data`` with one to three values replaced, taken out, doubled or renamed."""
    data = copy.deepcopy(data)
    parent: Json
    for _ in range(draw(st.integers(1, 3))):
        paths = [path for path in paths_in(data) if path]
        if not paths:
            break
        *above, last = draw(st.sampled_from(paths))
        parent = data
        for step in above:
            parent = parent[step]
        match draw(st.sampled_from(("replace", "remove", "double", "rename"))):
            case "remove":
                del parent[last]
            case "double" if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[int(last)]))
            case "rename" if isinstance(parent, dict):
                parent[draw(st.text(max_size=8) | st.sampled_from(HOSTILE))] = parent.pop(last)
            case _:
                parent[last] = draw(VALUES)
    return data


TOKENS = st.sampled_from(
    (
        *(
            "a",
            "b: ",
            "- ",
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            "?",
            " ",
            "  ",
            "\n",
            "\n  ",
            "\t",
            "\r",
            "\r\n",
            "---\n",
            "...\n",
        ),
        *(
            "&a ",
            "*a",
            "!!str ",
            "!x ",
            "|\n",
            ">-\n",
            "'",
            '"',
            "#",
            "%YAML 1.1\n",
            "%TAG ! x\n",
            "<<: ",
            "0x1",
            "010",
        ),
        *(
            ".inf",
            "~",
            "null",
            "yes",
            "\u2028",
            "\x00",
            "\ufeff",
            "\u0085",
            "é",
            "😀",
            "kind: ",
            "items: ",
            "apiVersion: ",
        ),
        *(f"{API}\n", "EgressPolicy\n", "List\n", "spec:\n  ", '"\\ud800"', '{"a":', "1e999", "=", "@", "`"),
    )
)
SOUP = st.lists(TOKENS, max_size=60).map("".join)
"""What is nearly YAML."""


@st.composite
def scratched(draw: st.DrawFn, text: str) -> bytes:
    """``text`` with some of its bytes changed, cut, doubled or joined by others; or in another encoding."""
    encoding = draw(st.sampled_from(("utf-8",) * 8 + ("utf-16", "utf-32", "utf-8-sig", "utf-16-le", "latin-1")))
    content = bytearray(text.encode(encoding, "replace"))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 40)))
        piece = draw(
            st.binary(max_size=6) | SOUP.map(lambda soup: soup[:20].encode()) | st.just(bytes(content[start:end]))
        )
        content[start : draw(st.sampled_from((start, end)))] = piece
    return bytes(content)


BYTES = st.one_of(st.binary(max_size=200), SOUP.map(str.encode), scratched(policies_text(POLICIES)))
JSON_BYTES = st.one_of(
    BYTES, scratched(json.dumps(CLUSTER)), spoilt(CLUSTER).map(lambda data: json.dumps(data).encode())
)

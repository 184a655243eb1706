# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""What iproute2 shows of rules, routes and forwarding entries beyond what ours have."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import (
    FdbEntry,
    more_of_route,
    more_of_rule,
    parse_fdb,
)
from ansible_collections.egress.gateway.plugins.module_utils.resources.link import settings

RULE = {"priority": 99, "src": "all", "fwmark": "0x26000001", "fwmask": "0xff003fff", "table": "3001"}
ROUTE = {"dst": "default", "gateway": "172.31.255.254", "dev": "egress.vxlan", "table": "3001", "flags": []}


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ({}, ""),
        ({"suppress_prefixlen": 0}, "suppress_prefixlength 0"),
        ({"not": None, "dst": "10.0.0.0", "dstlen": 8}, "not to 10.0.0.0/8"),
        ({"dst": "10.0.0.1"}, "to 10.0.0.1"),
        ({"ipproto": "ipproto-6", "dport_start": 80, "dport_end": 90}, "ipproto 6 dport 80-90"),
        ({"ipproto": "tcp", "dport": 80}, "ipproto tcp dport 80"),
        ({"uid_start": 0, "uid_end": 5, "oif": "lo", "tos": "0x10"}, "tos 0x10 oif lo uidrange 0-5"),
    ],
)
def test_what_else_a_rule_asks_for(shown: dict[str, Any], words: str) -> None:
    assert more_of_rule({**RULE, **shown}) == words


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ({}, ""),
        ({"flags": ["onlink"], "pref": "medium", "metric": 1024}, ""),
        ({"metrics": [{"mtu": 576}], "prefsrc": "172.31.0.3"}, "prefsrc 172.31.0.3 mtu 576"),
        ({"nexthops": [{"gateway": "172.31.0.9", "dev": "egress.vxlan"}]}, "nexthop 172.31.0.9 on egress.vxlan"),
    ],
)
def test_what_else_a_route_has(shown: dict[str, Any], words: str) -> None:
    assert more_of_route({**ROUTE, **shown}) == words


def test_forwarding_entries_that_are_not_quite_ours() -> None:
    entries = [
        {"mac": "66:65:67:00:00:01", "dst": "10.6.1.11", "port": 99, "vni": 7, "flags": ["self"], "state": ""},
        {"mac": "00:00:00:00:00:00", "dst": "10.6.1.99", "flags": ["self"], "state": "permanent"},
        {"mac": "33:33:00:00:00:01", "flags": ["self"], "state": "permanent"},
    ]
    assert parse_fdb(entries) == [
        FdbEntry("66:65:67:00:00:01", "10.6.1.11", False, "port 99 vni 7"),
        FdbEntry("00:00:00:00:00:00", "10.6.1.99", True),
    ]


def test_settings_that_stop_packets() -> None:
    good = {"flags": ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"]}
    assert set(settings(good).values()) == {"up", "on", "none", "off"}
    bad = {"flags": ["NO-CARRIER", "NOARP"], "master": "br9", "proto_down": True}
    assert list(settings(bad).values()) == ["down", "off", "br9", "on"]

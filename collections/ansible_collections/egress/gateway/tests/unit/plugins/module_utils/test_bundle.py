# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""A bundle's way to the node, and its files there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.bundle import from_files, installed, mode, pack, unpack
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.plan import parse_plan
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import Files, Record
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import bring, clear

TUNNEL = {
    "device": "egress.vxlan",
    "vni": 100,
    "port": 7789,
    "underlay": "10.6.1.21",
    "mtu": 1450,
    "mac": "66:65:67:00:00:03",
    "addresses": ["172.31.0.3/16"],
}
PLAN = {
    "version": 1,
    "node": "worker1",
    "role": "worker",
    "interface": "eth0",
    "tunnel": TUNNEL,
    "wire": None,
    "last_resort": {
        "skip_preference": 100,
        "preference": 101,
        "end_preference": 102,
        "mask": 0xFF000000,
        "table": 19999,
        "via4": "169.254.38.39",
        "device4": "eth0",
        "inside4": ["10.42.0.0/16"],
        "inside6": [],
        "skips": [{"family": 4, "source": None, "interface": "lo", "owner": "what this node itself sends"}],
        "rules": [{"family": 4, "source": "10.42.0.7", "interface": None, "owner": "default/visitor"}],
    },
    "peers": [{"node": "gw1", "underlay": "10.6.1.11", "mac": "66:65:67:00:00:01", "addresses": ["172.31.0.1"]}],
    "slots": [{"number": 1, "gateway": "a", "preferred_node": "gw1", "mark": 0x26000001, "table": 3001}],
    "rules": [{"family": 4, "preference": 99, "mark": 0x26000001, "mask": 0xFF003FFF, "table": 3001, "slot": 1}],
    "routes": [{"family": 4, "table": 3001, "via": None, "device": None, "metric": 9, "slot": 1, "onlink": False}],
    "steer_sources": {"pods4": [{"source": "10.42.0.7", "traffic_class": "c", "owner": "default/visitor"}]},
    "steer_classes": [{"name": "c", "policies": ["EgressPolicy default/test"]}],
    "snat_sources": {},
    "snat_classes": [],
    "vrrp": [],
    "sync": None,
    "sysctls": [{"key": "net/ipv4/ip_forward", "value": "1", "reason": "a node routes"}],
}
FILES = {"plan.json": json.dumps(PLAN), "nftables.nft": "# ünïcode\n", "notify.sh": "#!/bin/sh\n"}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(config=tmp_path / "etc", state=tmp_path / "state", runtime=tmp_path / "run")


def test_packed_and_unpacked() -> None:
    assert unpack(pack(FILES)).files == FILES


@pytest.mark.parametrize("payload", ["", "!", "aGVsbG8=", pack(FILES)[:-8]])
def test_a_damaged_payload_is_refused(payload: str) -> None:
    with pytest.raises(NodeError, match="damaged"):
        unpack(payload)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "", ".hidden", "a b", "a\nb", "a/b"])
def test_names_stay_in_the_directory(name: str) -> None:
    with pytest.raises(NodeError, match="no file of a bundle"):
        from_files({**FILES, name: ""})


BAD: list[dict[str, object]] = [
    {"version": 2},
    {"role": "king"},
    {"tunnel": None},
    {"tunnel": {**TUNNEL, "mac": "66:65:67:00:00:03\nlink delete eth0"}},
    {"tunnel": {**TUNNEL, "underlay": "10.6.1.021"}},
    {"interface": "eth0 type dummy"},
    {"rules": [{"family": 5}]},
    {"sysctls": [{"key": "net/../../etc/passwd", "value": "x", "reason": ""}]},
    {"sysctls": [{"key": "/etc/passwd", "value": "x", "reason": ""}]},
    {"sysctls": [{"key": "net/ipv4/ip_forward", "value": "1\n2", "reason": ""}]},
]


@pytest.mark.parametrize("change", BAD)
def test_a_plan_that_is_none_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(NodeError):
        parse_plan(json.dumps({**PLAN, **change}))


def test_a_plan_tells_where_things_come_from() -> None:
    plan = parse_plan(FILES["plan.json"])
    assert plan.rules[0].origin == "EgressGateway a, slot of gw1"
    assert plan.origins["10.42.0.7"] == "default/visitor (EgressPolicy default/test)"
    assert plan.origins["steer.c"] == "EgressPolicy default/test"
    assert plan.origins["10.6.1.11"] == "node gw1"


def test_scripts_alone_can_be_executed() -> None:
    assert [mode(FILES["notify.sh"]), mode(FILES["nftables.nft"])] == [0o755, 0o644]


def test_files_come_and_go(paths: Paths) -> None:
    resources = [Files(paths, FILES), Record(paths, FILES["plan.json"])]
    assert bring(resources)
    found = installed(paths)
    assert found is not None
    assert found.files == FILES
    assert (paths.config / "notify.sh").stat().st_mode & 0o777 == 0o755
    assert not bring(resources)

    assert bring([Files(paths, {"plan.json": FILES["plan.json"]})])
    assert [path.name for path in paths.config.iterdir()] == ["plan.json"]
    paths.drained.write_text("1", encoding="utf-8")
    assert not bring([Files(paths, {"plan.json": FILES["plan.json"]})]), "a drain is the node's own state"
    paths.originals.write_text("{}", encoding="utf-8")
    clear([Record(paths, None)])
    assert not paths.config.exists()


def test_a_directory_of_others_is_left_and_so_is_ours(paths: Paths) -> None:
    bring([Record(paths, FILES["plan.json"])])
    (paths.config / "of others").mkdir()
    assert clear([Record(paths, None)])
    assert [path.name for path in paths.config.iterdir()] == ["of others"]
    assert not clear([Record(paths, None)])


def test_a_link_in_the_directory_is_not_followed(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x", encoding="utf-8")
    paths.config.mkdir()
    (paths.config / "link").symlink_to(tmp_path / "secret")
    assert [str(change.key) for change in Files(paths, {}).difference()] == []

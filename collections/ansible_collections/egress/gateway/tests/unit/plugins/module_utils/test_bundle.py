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
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import Files, Record
from ansible_collections.egress.gateway.plugins.module_utils.resources.nftables_origins import origins
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import bring, clear

PLAN = Path(__file__).with_name("plan.json").read_text(encoding="utf-8")
FILES = {"plan.json": PLAN, "nftables.nft": "# ünïcode\n", "notify.sh": "#!/bin/sh\n"}


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


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("version", 1),
        ("role", "king"),
        ("kernel", None),
        ("kernel.interface", "eth0 type dummy"),
        ("kernel.tunnel.mac", "66:65:67:00:00:03\nlink delete eth0"),
        ("kernel.tunnel.underlay", "10.6.1.021"),
        ("kernel.families", [5]),
        ("kernel.sysctls", [{"key": "net/../../etc/passwd", "value": "x", "reason": ""}]),
        ("kernel.sysctls", [{"key": "/etc/passwd", "value": "x", "reason": ""}]),
        ("kernel.sysctls", [{"key": "net/ipv4/ip_forward", "value": "1\n2", "reason": ""}]),
        ("worker.answers", [{"number": "1", "slot": 1, "origin": ""}]),
    ],
)
def test_a_plan_that_is_none_is_refused(place: str, value: object) -> None:
    plan = json.loads(PLAN)
    *path, last = place.split(".")
    inner = plan
    for name in path:
        inner = inner[name]
    inner[last] = value
    with pytest.raises(NodeError, match="plan"):
        from_files({**FILES, "plan.json": json.dumps(plan)})


def test_a_plan_tells_where_things_come_from() -> None:
    known = origins(from_files(FILES).plan)
    assert known["10.1.0.0/16"] == "podSubnet (EgressClusterPolicy everybody)"
    assert known["slot.1"] == "EgressGateway edge, slot of gate"
    assert known["policy.egp.shop.web"] == known["answer.3"] == "EgressPolicy shop/web"
    assert known["0x26000003"] == known["0x00000003"] == known["192.0.2.68"] == "EgressPolicy shop/web"
    assert known["192.0.2.2"] == "node work"


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

# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""A node that follows its pods: what it knows survives, what follows from it is kept, no damage is believed."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.egress.gateway.plugins.module_utils import bundle as bundle_module
from ansible_collections.egress.gateway.plugins.module_utils.bundle import NodeBundle, from_files, installed
from ansible_collections.egress.gateway.plugins.module_utils.contract.membership import Known, KnownPod
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.known import known_of, known_text, read_known
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.followed import Followed, followed_files
from ansible_collections.egress.gateway.plugins.module_utils.resources.load_ruleset import load_ruleset
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import bring, clear

POD = KnownPod("shop", "web-0", "u1", {"app": "web"}, ("10.244.1.10", "fd00:10:244:1::a"))
KNOWN = Known((POD,), {"shop": {"team": "a"}}, frozenset({"egp.shop.old"}), ("10.244.1.99",))
RULESET = "table inet egress_gateway\n"
MEMBERS = Path(__file__).with_name("members.json").read_text(encoding="utf-8")


@pytest.fixture
def files(plan_text: str) -> dict[str, str]:
    """Of a node with nothing but a policy that its pods may come to."""
    data = json.loads(plan_text)
    data["follow"] = {}
    data["worker"] = {key: [] for key in ("pods", "policies", "orders", "answers", "slots")}
    data["worker"]["subnets"] = {"ipv4": [], "ipv6": []}
    return {"plan.json": json.dumps(data), "nftables.nft": RULESET, "members.json": MEMBERS}


@pytest.fixture
def paths(tmp_path: Path, files: dict[str, str]) -> Paths:
    """A node with these files, and nothing known."""
    found = Paths(config=tmp_path / "etc", state=tmp_path / "state", runtime=tmp_path / "run")
    found.config.mkdir()
    for name, text in files.items():
        found.file(name).write_text(text, encoding="utf-8")
    return found


def held(paths: Paths) -> NodeBundle:
    found = installed(paths)
    assert found is not None
    return found


def test_what_is_known_is_read_as_it_was_written() -> None:
    assert known_of(known_text(KNOWN)) == KNOWN
    assert known_of(known_text(Known())) == Known()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        known_text(KNOWN).replace('"version": 1', '"version": 2'),
        known_text(KNOWN).replace("10.244.1.10", "10.244.1.10; flush ruleset"),
        known_text(KNOWN).replace("10.244.1.99", "10.244.1.0/24"),
        known_text(KNOWN)[:-10],
    ],
)
def test_what_is_damaged_is_not_believed(paths: Paths, text: str) -> None:
    paths.state.mkdir()
    paths.known.write_text(text, encoding="utf-8")
    assert read_known(paths) == Known()


def test_a_pod_is_in_force_with_its_policy_and_slot(paths: Paths) -> None:
    found = held(paths).with_known(KNOWN)
    assert [(pod.source, pod.chain) for pod in found.plan.worker.pods.ipv4] == [
        ("10.244.1.10", "egp.shop.web"),
        ("10.244.1.99", "blocked"),
    ]
    assert [slot.number for slot in found.plan.worker.slots] == [900]
    assert found.static.worker.slots == ()
    assert found.ruleset is not None
    assert found.ruleset.startswith(RULESET)
    assert "10.244.1.10 : goto policy.egp.shop.web, 10.244.1.99 : goto blocked" in found.ruleset
    assert "chain slot.900 {\n\t\tmeta mark set 0x26000384" in found.ruleset


def test_what_follows_is_kept_and_read_without_the_policies(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = held(paths).with_known(KNOWN)
    assert len(bring([Followed(paths, wanted)])) == 3
    monkeypatch.setattr(NodeBundle, "members", lambda _self: pytest.fail("read"))
    again = held(paths)
    assert (again.plan, again.ruleset, again.known) == (wanted.plan, wanted.ruleset, KNOWN)
    assert Followed(paths, again).difference() == ()


@pytest.mark.parametrize("changed", ["known", "members_ruleset", "followed", "policies"])
def test_what_does_not_belong_together_is_worked_out_anew(paths: Paths, changed: str) -> None:
    bring([Followed(paths, held(paths).with_known(KNOWN))])
    if changed == "policies":
        paths.file("members.json").write_text(
            MEMBERS.replace("goto answer.7", "counter goto answer.7"), encoding="utf-8"
        )
    elif changed == "known":
        paths.known.write_text(known_text(replace(KNOWN, waiting=())), encoding="utf-8")
    else:
        getattr(paths, changed).write_text("{}", encoding="utf-8")
    found = held(paths)
    assert found == found.with_known(read_known(paths))
    assert ("10.244.1.99" in str(found.ruleset)) == (changed != "known")


def test_nothing_is_left_where_the_node_does_not_follow(paths: Paths) -> None:
    bring([Followed(paths, held(paths).with_known(KNOWN))])
    clear([Followed(paths, None)])
    assert list(paths.state.iterdir()) == []


def test_a_bundle_without_its_policies_is_none(files: dict[str, str]) -> None:
    del files["members.json"]
    with pytest.raises(NodeError, match="no members"):
        from_files(files).with_known(KNOWN)


def test_a_compiled_node_knows_of_no_pods(plan: NodePlan, plan_text: str, tmp_path: Path) -> None:
    found = from_files({"plan.json": plan_text})
    assert found.with_known(KNOWN) is found
    assert followed_files(Paths(state=tmp_path), NodeBundle({}, plan, plan)) == {}
    assert bundle_module.from_files({"plan.json": plan_text}).ruleset is None


@pytest.mark.parametrize(
    ("ruleset", "members", "accepted", "loaded"),
    [
        (None, None, True, []),
        ("A\n", None, True, ["A"]),
        ("A\n", "", True, ["A"]),
        ("A\n", "B\n", True, ["A B"]),
        ("A\n", "B\n", False, ["A B", "A"]),
    ],
)
def test_a_boot_loads_both_or_at_least_the_ruleset(
    tmp_path: Path, ruleset: str | None, members: str | None, accepted: bool, loaded: list[str]
) -> None:
    paths = Paths(config=tmp_path / "etc", state=tmp_path / "state")
    for path, text in ((paths.file("nftables.nft"), ruleset), (paths.members_ruleset, members)):
        path.parent.mkdir()
        if text is not None:
            path.write_text(text, encoding="utf-8")
    nft = tmp_path / "nft"
    nft.write_text(
        '#!/bin/sh\nset -- $(cat "${2#-}" /dev/null 2>/dev/null || cat)\n'
        '[ "$*" ] || set -- $(cat)\necho "$*" >>%s/log\n[ $# -lt 2 ] || %s\n' % (tmp_path, str(accepted).lower()),
        encoding="utf-8",
    )
    nft.chmod(0o755)
    shell = shutil.which("sh") or "/bin/sh"
    done = subprocess.run([shell, "-c", load_ruleset(paths)], env={"PATH": "%s:/usr/bin:/bin" % tmp_path}, check=False)
    assert done.returncode == 0
    log = tmp_path / "log"
    assert (log.read_text(encoding="utf-8").splitlines() if log.exists() else []) == loaded

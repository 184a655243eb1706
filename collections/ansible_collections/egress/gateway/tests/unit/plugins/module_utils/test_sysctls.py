# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Settings and their originals, on a directory that stands for /proc/sys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import Sysctl
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import bring, clear
from ansible_collections.egress.gateway.plugins.module_utils.resources.sysctls import Sysctls

LOOSE = "net/ipv4/conf/all/rp_filter"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(config=tmp_path / "etc", state=tmp_path / "state", sysctls=tmp_path / "sys")
    for key, value in {LOOSE: "1", "net/core/range": "1\t2"}.items():
        (found.sysctls / key).parent.mkdir(parents=True, exist_ok=True)
        (found.sysctls / key).write_text(value + "\n", encoding="ascii")
    return found


def sysctls(paths: Paths, **wanted: str) -> Sysctls:
    names = {"loose": LOOSE, "range": "net/core/range", "missing": "net/no/such"}
    return Sysctls(paths, [Sysctl(names[n], v, "because") for n, v in wanted.items()], "node")


def value(paths: Paths, key: str) -> str:
    return (paths.sysctls / key).read_text(encoding="ascii").strip()


def test_set_and_restored(paths: Paths) -> None:
    assert bring([sysctls(paths, loose="2")])
    assert value(paths, LOOSE) == "2"
    assert json.loads(paths.originals.read_text(encoding="utf-8")) == {LOOSE: "1"}
    assert not bring([sysctls(paths, loose="2")])
    assert clear([sysctls(paths)])
    assert value(paths, LOOSE) == "1"


def test_the_first_original_is_never_overwritten(paths: Paths) -> None:
    bring([sysctls(paths, loose="2")])
    (paths.sysctls / LOOSE).write_text("0\n", encoding="ascii")
    bring([sysctls(paths, loose="2")])
    clear([sysctls(paths)])
    assert value(paths, LOOSE) == "1"


def test_what_a_plan_no_longer_has_goes_back_and_is_forgotten(paths: Paths) -> None:
    bring([sysctls(paths, loose="2", range="3 4")])
    assert [str(c.key) for c in sysctls(paths, loose="2").difference()] == ["sysctl net/core/range"]
    bring([sysctls(paths, loose="2")])
    assert value(paths, "net/core/range") == "1 2"
    (paths.sysctls / "net/core/range").write_text("7 8\n", encoding="ascii")
    assert sysctls(paths, loose="2").difference() == ()


def test_white_space_is_no_difference(paths: Paths) -> None:
    assert sysctls(paths, range="1 2").difference() == ()


def test_a_setting_that_the_kernel_lacks_is_an_error(paths: Paths) -> None:
    with pytest.raises(NodeError, match="net/no/such"):
        bring([sysctls(paths, missing="1")])


def test_damaged_originals_are_not_written_over(paths: Paths) -> None:
    paths.config.mkdir()
    paths.originals.write_text("{", encoding="utf-8")
    with pytest.raises(NodeError, match="damaged"):
        bring([sysctls(paths, loose="2")])
    assert paths.originals.read_text(encoding="utf-8") == "{"

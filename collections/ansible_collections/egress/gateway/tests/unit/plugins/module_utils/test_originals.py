# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""What the sysctls were, kept twice, and the directories that it is kept in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources import originals
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import irregular, write
from ansible_collections.egress.gateway.plugins.module_utils.resources.originals import Originals
from ansible_collections.egress.gateway.plugins.module_utils.resources.places import Places
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import bring

BEFORE = {"net/ipv4/ip_forward": "0"}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(config=tmp_path / "etc", state=tmp_path / "state", runtime=tmp_path / "run")
    originals.save(found, BEFORE)
    return found


def test_each_is_made_of_the_other(paths: Paths) -> None:
    for path in (paths.originals, paths.originals_copy):
        path.unlink()
        assert originals.read(paths) == BEFORE
        assert [str(change.key) for change in bring([Originals(paths, True)])] == ["file %s" % path]
        assert json.loads(path.read_text(encoding="utf-8")) == BEFORE
        path.write_text("{", encoding="utf-8")
        assert [change.action for change in bring([Originals(paths, True)])] == ["modify"]
        path.chmod(0o666)
        assert bring([Originals(paths, True)])
        assert irregular(path) == ""
    assert Originals(paths, True).difference() == ()


def test_both_lost_is_said_and_both_damaged_is_an_error(paths: Paths) -> None:
    assert not Originals(paths, True).lost()
    for path in (paths.originals, paths.originals_copy):
        path.unlink()
    assert Originals(paths, True).lost()
    assert not Originals(paths, False).lost()
    assert len(Originals(paths, True).difference()) == 2
    for path in (paths.originals, paths.originals_copy):
        path.write_text("[]", encoding="utf-8")
    with pytest.raises(NodeError, match="damaged"):
        originals.read(paths)


def test_a_directory_that_others_may_write_to_is_closed(paths: Paths) -> None:
    assert Places(paths, True).difference() == ()
    paths.config.chmod(0o2777)
    (change,) = bring([Places(paths, True)])
    assert (str(change.key), change.before) == ("directory %s" % paths.config, "mode 2777")
    assert paths.config.stat().st_mode & 0o7777 == 0o2755
    paths.state.chmod(0o700)
    assert Places(paths, True).difference() == (), "nothing against who is stricter"
    paths.config.chmod(0o777)
    assert Places(paths, False).difference() == ()
    write(paths.config / "a", "text", 0o644)
    assert irregular(paths.config / "a") == ""

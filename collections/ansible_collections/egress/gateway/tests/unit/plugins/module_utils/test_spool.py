# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What the gate did without a follower counts, until a follower has taken it in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from ansible_collections.egress.gateway.plugins.module_utils.contract.membership import Known, KnownPod
from ansible_collections.egress.gateway.plugins.module_utils.known import known_in_force, known_text
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths

A = KnownPod("shop", "a", "u-a", {"app": "web"}, ("10.0.0.1", "fd00::1"))
B = KnownPod("shop", "b", "u-b", {}, ("10.0.0.2",))


def known_after(directory: Path, *requests: object) -> Known:
    paths = replace(Paths(), runtime=directory / "run", state=directory / "state")
    paths.state.mkdir()
    paths.known.write_text(known_text(Known((A, B), waiting=("10.0.0.3",))), encoding="utf-8")
    paths.spool.mkdir(parents=True)
    for number, request in enumerate(requests):
        text = request if isinstance(request, str) else json.dumps(request)
        (paths.spool / ("%020d-1.json" % number)).write_text(text, encoding="utf-8")
    return known_in_force(paths)


def test_without_notes_it_is_what_the_file_says(tmp_path: Path) -> None:
    assert known_after(tmp_path) == Known((A, B), waiting=("10.0.0.3",))


def test_a_deleted_address_is_nobodys(tmp_path: Path) -> None:
    known = known_after(tmp_path, {"do": "delete", "container": "c", "addresses": ["10.0.0.1", "10.0.0.3"]})
    assert known.pods == (replace(A, addresses=("fd00::1",)), B)
    assert known.waiting == ()


def test_a_blocked_address_waits(tmp_path: Path) -> None:
    known = known_after(tmp_path, {"do": "add", "blocked": True, "addresses": ["10.0.0.2"]})
    assert known.pods == (A, replace(B, addresses=()))
    assert known.waiting == ("10.0.0.3", "10.0.0.2")


def test_the_later_note_counts(tmp_path: Path) -> None:
    blocked = {"do": "add", "blocked": True, "addresses": ["10.0.0.2"]}
    assert known_after(tmp_path, blocked, {"do": "delete", "addresses": ["10.0.0.2"]}).waiting == ("10.0.0.3",)


def test_what_is_no_note_is_passed_over(tmp_path: Path) -> None:
    odd = ["", "{", "[]", "5", '{"addresses": 5}', '{"addresses": ["x"]}', '{"addresses": [["10.0.0.1"]]}', "{}"]
    assert known_after(tmp_path, *odd).pods == (A, B)

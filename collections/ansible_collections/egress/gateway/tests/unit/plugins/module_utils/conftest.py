# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""A plan as the compiler writes it: of a gateway node with pods, another gateway and a further uplink."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.contract.reading import read_plan


@pytest.fixture(scope="session")
def plan_text() -> str:
    return Path(__file__).with_name("plan.json").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def plan(plan_text: str) -> NodePlan:
    return read_plan(plan_text, None)

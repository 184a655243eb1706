"""Names of chains that depend on nothing but the policies' names, so that no other change renames them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from egress_compiler.model.policy import Ref

MAX_NAME = 80
"""The kernel takes 127 characters for a chain, and prefixes are put before it."""
_SHORT = {"EgressPolicy": "egp", "EgressClusterPolicy": "egcp"}


def chain_name(refs: Sequence[Ref]) -> str:
    """Says the first policy, and for several a digest of all.

    As no Kubernetes name has an underscore, nobody can name a policy like an order of others.
    """
    first = refs[0]
    name = ".".join(part for part in (_SHORT[first.kind], first.namespace, first.name) if part)
    if len(refs) == 1 and len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256("\n".join(map(str, refs)).encode()).hexdigest()[:10]
    more = f"_and{len(refs) - 1}" if len(refs) > 1 else ""
    return f"{name[: MAX_NAME - 20]}{more}_{digest}"

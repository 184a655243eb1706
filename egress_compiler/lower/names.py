"""Names of policies' chains that depend on nothing but the policies' names, so that no other change renames them."""

from __future__ import annotations

import hashlib

from egress_compiler.contract.membership import MAX_NAME
from egress_compiler.model.policy import Ref

_SHORT = {"EgressPolicy": "egp", "EgressClusterPolicy": "egcp"}


def chain_name(ref: Ref) -> str:
    """Of one policy; that of an order says the first, and a digest of all (``contract.membership``).

    As no Kubernetes name has an underscore, nobody can name a policy like an order of others.
    """
    name = ".".join(part for part in (_SHORT[ref.kind], ref.namespace, ref.name) if part)
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(str(ref).encode()).hexdigest()[:10]
    return f"{name[: MAX_NAME - 20]}_{digest}"

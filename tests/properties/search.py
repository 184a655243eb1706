"""How long hypothesis searches: briefly and the same at each run, or as long as EGRESS_EXAMPLES says."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

FACTOR = int(os.environ.get("EGRESS_EXAMPLES", "1"))
"""EGRESS_EXAMPLES=20 makes twenty times as many examples, other ones at each run; it needs ``pytest --timeout=0``."""


def examples(count: int) -> settings:
    # Without a deadline for one example, as other work may share the cores; without the phase that explains failures,
    # as it takes minutes where an example is a whole cluster.
    return settings(
        max_examples=count * FACTOR,
        derandomize=FACTOR == 1,
        deadline=None,
        print_blob=True,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )

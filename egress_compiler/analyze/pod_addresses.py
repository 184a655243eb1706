"""What is wrong with the addresses of pods, where a policy selects the pod.  Of other pods no address is used."""

from __future__ import annotations

from egress_compiler.diagnostics import Collector, Related
from egress_compiler.net import format_address
from egress_compiler.resolve import Resolved, selected_among

HINT = "take the snapshot again, all kinds at the same moment"


def check_pod_addresses(resolved: Resolved, found: Collector) -> None:
    """Errors where one of several pods with an address is selected, or one with what is no address."""
    _check_shared(resolved, found)
    _check_bad(resolved, found)


def _check_shared(resolved: Resolved, found: Collector) -> None:
    """Which of them sends, nothing can tell: the one would have the other's EIP, or have none."""
    shared = resolved.cluster.shared_addresses
    if not shared:
        return
    pods, others = resolved.cluster.pods, resolved.cluster.others
    governed = {pods[position].key for policy in resolved.policies for position in policy.pods}
    for address, everybody in shared:
        # What a pod on a node without a configuration sends, nothing of ours ever sees.
        claims = [claim for claim in everybody if claim.pod.node not in others]
        if len(claims) > 1 and any(claim.pod.key in governed for claim in claims):
            first, second = claims[:2]
            owners = f"pod {first.pod.key} and of pod {second.pod.key}"
            found.error(
                "address-twice",
                f"{format_address(*address)} is the address of {owners}",
                second.origin.at(*second.path),
                hint=f"{HINT}; where networks overlap on purpose, select pods of one of them only",
                related=(Related(f"the address of pod {first.pod.key}", first.origin.at(*first.path)),),
            )


def _check_bad(resolved: Resolved, found: Collector) -> None:
    bad = resolved.cluster.bad_addresses
    selected = selected_among([one.claim.pod for one in bad], resolved) if bad else frozenset()
    for position, (problem, claim) in enumerate(bad):
        if position in selected:
            found.error("bad-address", problem, claim.origin.at(*claim.path), hint=HINT)
        else:
            hint = f"no policy selects pod {claim.pod.key}, so it is left out"
            found.warning("bad-address", problem, claim.origin.at(*claim.path), hint=hint)

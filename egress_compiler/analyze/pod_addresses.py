"""What is wrong with the addresses of pods, where a policy selects the pod.  Of other pods no address is used.

Nor is that of any pod where nodes follow theirs by themselves: the files' pods are for reports then, and all that is
wrong with them is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator

from egress_compiler.diagnostics import Collector, Related, counted, listing
from egress_compiler.net import Family, Interval, format_address, union
from egress_compiler.resolve import Resolved, selected_among

HINT = "take the snapshot again, all kinds at the same moment"


def check_pod_addresses(resolved: Resolved, found: Collector) -> None:
    """Errors where one of several pods with an address is selected, or one with what is no address."""
    _check_shared(resolved, found)
    _check_bad(resolved, found)
    if resolved.followed:
        _check_believed(resolved, found)


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
            report = found.warning if resolved.followed else found.error
            report(
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
            report = found.warning if resolved.followed else found.error
            report("bad-address", problem, claim.origin.at(*claim.path), hint=HINT)
        else:
            hint = f"no policy selects pod {claim.pod.key}, so it is left out"
            found.warning("bad-address", problem, claim.origin.at(*claim.path), hint=hint)


def _check_believed(resolved: Resolved, found: Collector) -> None:
    """Gateways know no pod, and where nodes follow theirs, nothing of one: only the known pod CIDRs."""
    pods = resolved.cluster.pods
    outside = {
        table.pods[place]
        for family, table in resolved.cluster.pod_table.items()
        for place in table.outside(union([*resolved.pod_cidrs[family], *_subnets(resolved, family)]))
    }
    refused = sorted(outside & {position for policy in resolved.policies for position in policy.pods})
    if refused:
        names = listing([pods[position].key for position in refused])
        one = len(refused) == 1
        found.warning(
            "pod-refused",
            f"{counted(len(refused), 'governed pod')} ({names}) {'has' if one else 'have'} addresses in no pod CIDR: "
            f"gateways refuse what {'it sends' if one else 'they send'}",
            None,
            hint="name their CIDR under podCIDRs in the settings: where nodes follow their pods, gateways know nothing "
            "of them but the pod CIDRs",
        )


def _subnets(resolved: Resolved, family: Family) -> Iterator[Interval]:
    return (interval for policy in resolved.policies for interval in policy.subnets[family])

"""What several features say alike, in nft's words."""

from __future__ import annotations

from functools import lru_cache

from egress_compiler.contract.names import TUNNEL_DEVICE
from egress_compiler.contract.numbers import FOREIGN_BITS, MARK_MASK, NUMBER_MASK, PREFIX_MASK
from egress_compiler.contract.plan import Answer, NodePlan, Translation
from egress_compiler.diagnostics import printable
from egress_compiler.net import FAMILIES, Family
from egress_compiler.ruleset.model import Element, Set

COMMENT_WIDTH = 120
"""Characters; nft takes 127 in the comment of a rule."""

IP: dict[Family, str] = {4: "ip", 6: "ip6"}
ADDRESS: dict[Family, str] = {4: "ipv4_addr", 6: "ipv6_addr"}
PROTOCOL: dict[Family, str] = {4: "ipv4", 6: "ipv6"}
CT_MARK = f"ct mark & {MARK_MASK:#010x}"
CT_PREFIX = f"ct mark & {PREFIX_MASK:#010x}"
PREFIX = f"meta mark & {PREFIX_MASK:#010x}"
_NUMBER = f"meta mark & {NUMBER_MASK:#010x}"
CT_NUMBER = f"ct mark & {NUMBER_MASK:#010x}"


@lru_cache(maxsize=65_536)
def comment(text: str) -> str:
    """One line without control characters, that no backslash at its end can join to the next."""
    return printable(" ".join(text.split()))[:COMMENT_WIDTH].rstrip("\\ ")


@lru_cache(maxsize=65_536)
def rule_comment(text: str) -> str:
    """What may stand between the quotes of an nft comment; object names need no escapes."""
    return "".join(c for c in comment(text) if c not in '"\\')


def giver(answer: Answer | Translation) -> str:
    """The policy that gives an answer, or gave it once."""
    return f"{answer.origin}, once" if answer.gone else answer.origin


def mark(value: int) -> str:
    return f"{value:#010x}"


def set_mark(value: int) -> str:
    """The packet's mark, with others' bits left alone."""
    return f"meta mark set meta mark & {FOREIGN_BITS:#010x} | {value:#010x}"


def set_ct_number(value: int) -> str:
    """The connection's mark from the number that a packet brought; in the zone of the gateway role it is all ours."""
    return f"ct mark set {_NUMBER} | {value:#010x}"


def set_ct_mark(value: int) -> str:
    return f"ct mark set ct mark & {FOREIGN_BITS:#010x} | {value:#010x}"


def devices(*names: str) -> str:
    quoted = [f'"{name}"' for name in names]
    return quoted[0] if len(quoted) == 1 else f"{{ {', '.join(quoted)} }}"


def inwards(plan: NodePlan) -> str:
    """The devices by which packets come to the gateway role."""
    return devices(TUNNEL_DEVICE) if plan.kernel.veth is None else devices(plan.kernel.veth.gateway, TUNNEL_DEVICE)


def onwards(plan: NodePlan) -> str:
    """The devices by which packets of the worker role go to a gateway."""
    return devices(TUNNEL_DEVICE) if plan.kernel.veth is None else devices(TUNNEL_DEVICE, plan.kernel.veth.worker)


@lru_cache(maxsize=256)
def address_set(name: str, family: Family, items: tuple[str, ...], reason: str, *, interval: bool = False) -> Set:
    return Set(name, ADDRESS[family], tuple(map(Element, items)), reason, interval=interval)


def underlay_family(plan: NodePlan) -> Family:
    return 6 if ":" in plan.kernel.tunnel.underlay else 4


def same(reason: str) -> dict[Family, str]:
    """The comment of two sets, of which the second is the same for IPv6."""
    return dict(zip(FAMILIES, (reason, "The same for IPv6."), strict=True))

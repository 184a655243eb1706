"""The lock file's content: allocations of earlier runs, to be kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from egress_compiler.document import Document, Places
from egress_compiler.net import Family

LOCK_VERSION = 1


@dataclass(frozen=True, slots=True)
class SlotLock:
    """``slot`` gives mark and routing table, ``vip`` is the index of the tunnel VIP."""

    slot: int
    vrid: int
    vip: int


@dataclass(frozen=True, slots=True)
class EipLock:
    """The preferred node of an EIP; ``pinned`` by a move, so that no rebalancing takes it away.

    A pin waits for its node: while that is no gateway node the EIP is on ``meanwhile``.
    """

    node: str
    pinned: bool = False
    meanwhile: str = ""


@dataclass(frozen=True, slots=True)
class PolicyLock:
    """What a policy got: EIPs as text, or with useNodeIP its preferred node.

    ``kept``: it takes the default EIP, and has another one that it brought along from the in-cluster controller.
    """

    gateway: str
    ipv4: str = ""
    ipv6: str = ""
    node: str = ""
    kept: bool = False


@dataclass(frozen=True, slots=True)
class GatewayLock:
    """The default EIPs that were in force."""

    ipv4: str = ""
    ipv6: str = ""


@dataclass(frozen=True, slots=True)
class GoneLock:
    """An answer that no policy gives any more, and what the policy had that gave it."""

    number: int
    gateway: str
    ipv4: str = ""
    ipv6: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Lock:
    """Keys: node name; ``GATEWAY/NODE``; ``GATEWAY``; ``GATEWAY/EIP``; ``KIND NAMESPACE/NAME``; in ``answers`` that and
    the EIP, or ``nodeIP``, and the same in ``gone``.

    An EIP is named by its IPv4 address where it has one.  ``last_answer`` is the number that was handed out last, None
    where the file does not say; those above it are the next.  ``underlay`` is the family that the tunnels run over.
    ``good`` has every object as it was when it was last without errors; empty where quarantine was never asked for.
    ``document`` is the file's, where there was one.
    """

    nodes: Mapping[str, int] = field(default_factory=dict)
    slots: Mapping[str, SlotLock] = field(default_factory=dict)
    gateways: Mapping[str, GatewayLock] = field(default_factory=dict)
    eips: Mapping[str, EipLock] = field(default_factory=dict)
    policies: Mapping[str, PolicyLock] = field(default_factory=dict)
    answers: Mapping[str, int] = field(default_factory=dict)
    last_answer: int | None = None
    gone: Mapping[str, GoneLock] = field(default_factory=dict)
    underlay: Family = 4
    good: Mapping[str, Document] = field(default_factory=dict, compare=False, repr=False)
    document: Places | None = field(default=None, repr=False, compare=False)

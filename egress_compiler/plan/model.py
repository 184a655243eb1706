"""What a plan says, as data: the same values for the terminal, a pull request and machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from egress_compiler.decide import Outcome
from egress_compiler.model.policy import Ref
from egress_compiler.net import Family
from egress_compiler.source import Position

Ending = Literal["none", "kept", "broken"]
Kind = Literal["gains", "loses", "changes", "moves", "blocks", "unblocks"]
FileAction = Literal["create", "modify", "delete"]


class Answer(NamedTuple):
    """What becomes of a new connection.  ``slot``, ``gateway`` and ``node`` (the preferred one) say where it leaves.

    ``address`` is '' where the connection goes out directly or is blocked; with useNodeIP it is the preferred node's.
    """

    outcome: Outcome
    address: str = ""
    policy: str = ""
    slot: int | None = None
    gateway: str = ""
    node: str = ""
    number: int | None = None

    @property
    def governed(self) -> bool:
        return self.outcome in ("eip", "node-ip")

    @property
    def path(self) -> tuple[Outcome, str, int | None, str]:
        """What counts for a packet: two answers with the same path differ in name only."""
        return (self.outcome, self.address, self.slot, self.node)


DIRECT = Answer("direct")


class Region(NamedTuple):
    """Destinations of one family outside the cluster: those listed, or with ``rest`` all but those listed."""

    family: Family
    destinations: tuple[str, ...]
    rest: bool


class Connections(NamedTuple):
    """What becomes of the connections that are open when the change is applied, and why."""

    outcome: Ending
    reason: str


class Flow(NamedTuple):
    """Destinations for which the answer changes."""

    region: Region
    before: Answer
    after: Answer
    connections: Connections

    @property
    def kind(self) -> Kind:
        if self.after.outcome == "blocked":
            return "blocks"
        if self.before.outcome == "blocked":
            return "unblocks"
        if not self.before.governed:
            return "gains"
        if not self.after.governed:
            return "loses"
        return "moves" if self.before.address == self.after.address else "changes"

    @property
    def disruptive(self) -> bool:
        """Whether somebody loses what worked: an address that others may know, open connections, or the way out."""
        return self.kind in ("loses", "changes", "blocks") or self.connections.outcome == "broken"


class Member(NamedTuple):
    """A pod, with its node and addresses of today; or source addresses that podSubnets name."""

    name: str
    node: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sources:
    """Pods, or source addresses that no pod is known for, with the same changes."""

    what: Literal["pod", "subnet"]
    members: tuple[Member, ...]
    flows: tuple[Flow, ...]


@dataclass(frozen=True, slots=True)
class PolicyState:
    ipv4: str
    ipv6: str
    node: str


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """``before`` is None where the policy is new, ``after`` None where it goes.

    ``gained`` and ``lost`` count the pods that begin or cease to leave by it, for some destination.
    """

    ref: Ref
    before: PolicyState | None
    after: PolicyState | None
    gained: int
    lost: int
    description: str
    position: Position | None

    @property
    def disruptive(self) -> bool:
        """An address that others may know changes, though no pod may use it today."""
        if self.before is None or self.after is None:
            return False
        before = {text for text in (self.before.ipv4, self.before.ipv6) if text}
        return not before <= {self.after.ipv4, self.after.ipv6}


@dataclass(frozen=True, slots=True)
class EipChange:
    """An EIP that moves, comes into use (``before`` is '') or ceases to be used (``after`` is '').

    ``waits_for`` is the node that it is pinned to, where that is away.
    """

    gateway: str
    address: str
    before: str
    after: str
    waits_for: str = ""


@dataclass(frozen=True, slots=True)
class FileLines:
    """One file that compile would write; ``diff`` is a unified diff, where it was asked for."""

    path: str
    action: FileAction
    added: int
    removed: int
    diff: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeChange:
    node: str
    role: str
    action: FileAction
    files: tuple[FileLines, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """What concerns whole nodes: ``disruptive`` where traffic stops for a while."""

    text: str
    disruptive: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What compile would change against the bundle ``against``; ``fresh`` where there is none yet.

    ``gone`` are pods with an EIP that are no longer in the cluster.  ``inside`` has, by family, the destinations that
    join the inside of the cluster and those that leave it.
    """

    against: str
    fresh: bool
    policies: tuple[PolicyChange, ...]
    sources: tuple[Sources, ...]
    gone: tuple[str, ...]
    eips: tuple[EipChange, ...]
    inside: Mapping[Family, tuple[tuple[str, ...], tuple[str, ...]]]
    notes: tuple[Note, ...]
    nodes: tuple[NodeChange, ...]
    files: tuple[FileLines, ...]
    node_count: int

    @property
    def empty(self) -> bool:
        """Compile would write nothing."""
        return not self.nodes and not self.files

    @property
    def disruptive(self) -> bool:
        """Somebody who left with an EIP leaves with another address or not at all, or loses open connections."""
        return (
            any(flow.disruptive for group in self.sources for flow in group.flows)
            or any(policy.disruptive for policy in self.policies)
            or any(note.disruptive for note in self.notes)
        )

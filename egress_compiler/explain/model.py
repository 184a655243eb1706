"""An explanation as data: every policy considered, and the egress path of each destination hop by hop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from egress_compiler.decide import Outcome
from egress_compiler.document import Places
from egress_compiler.model.policy import Ref
from egress_compiler.net import Address, Family
from egress_compiler.source import Position


class Line(NamedTuple):
    """A line of the generated configuration; ``file`` is its path in the bundle, ``number`` counts from 1.

    Without a number it is none of the file's: the node, which follows its pods, adds it to what it loads.
    """

    file: str
    number: int | None
    text: str


class Hop(NamedTuple):
    """One step of a packet: where it is, what happens to it there, and the lines that do it."""

    where: str
    what: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Considered:
    """One policy, in the order in which packets meet them.

    ``sources`` are the addresses of the pod that it selects, with the reasons why not where there is none;
    ``destination`` tells whether it covers the destination that was asked for, None where none was.
    """

    ref: Ref
    priority: int
    document: Places = field(repr=False, compare=False)
    sources: tuple[Address, ...]
    reasons: tuple[str, ...]
    destination: bool | None
    destination_reason: str
    verdict: str

    @property
    def position(self) -> Position:
        """Where the policy stands; looked for when somebody asks, as most are of other namespaces."""
        return self.document.at("metadata", "name")

    @property
    def wins(self) -> bool:
        return self.verdict.startswith("wins")


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway node of a slot, and what the outside sees while it is master; '' where it lets nothing out."""

    node: str
    priority: int
    address: str


@dataclass(frozen=True, slots=True)
class EgressPath:
    """The destinations of one family that leave alike.

    ``rest`` means all that no other path has.  ``answer`` is the answer number, ``chain`` the policy's chain on the
    pod's node.  ``addresses`` are what the outside may see, today's first.
    """

    family: Family
    source: str
    destinations: tuple[str, ...]
    rest: bool
    outcome: Outcome
    why: str
    policy: str
    chain: str
    answer: int | None
    slot: int | None
    gateway: str
    gateways: tuple[Gateway, ...]
    addresses: tuple[str, ...]
    hops: tuple[Hop, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why ``pod`` leaves as it does.  ``pod`` is '' where an address is no known pod's; ``notes`` say what is odd.

    ``host`` says which host's address it is, where it is one: no policy applies then.
    """

    pod: str
    node: str
    addresses: tuple[str, ...]
    to: str
    notes: tuple[str, ...]
    considered: tuple[Considered, ...]
    paths: tuple[EgressPath, ...]
    host: str = ""


@dataclass(frozen=True, slots=True)
class User:
    """Sources that leave with an EIP, and for which destinations; without ``destinations`` for all that are left."""

    source: str
    owner: str
    destinations: tuple[str, ...]
    policy: str


@dataclass(frozen=True, slots=True)
class EipExplanation:
    """Who leaves with ``address``.  ``partner`` is its pair's other address; ``slot`` is None where nobody uses it."""

    address: str
    partner: str
    gateway: str
    place: str
    slot: int | None
    nodes: tuple[Gateway, ...]
    policies: tuple[str, ...]
    users: tuple[User, ...]
    lines: tuple[Line, ...]

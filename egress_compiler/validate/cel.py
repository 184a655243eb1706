"""What a structural schema cannot say, as CEL rules for the CRDs, so that a cluster refuses what ``validate`` refuses.

A rule never refuses what ``validate`` accepts.  Three things of ``validate`` a rule cannot know: other objects,
annotations, and the keys of labels (their length has no bound in a schema, so that an API server estimates any look at
them as too expensive).  The limits on the length of lists are for that estimate as well; ``validate`` has none.
Source: Kubernetes documentation, "Validation rules" of CustomResourceDefinitions, and k8s.io/apiserver/pkg/cel/library
(``ip`` and ``cidr``: Kubernetes 1.31).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

ADDRESS_LENGTH = 100
"""Two IPv6 addresses, the hyphen of a range and spaces around it: longer text is none of the spellings."""
MOST_ITEMS = 4096
"""Items of a list of addresses, labels of a selector, and values of one of its requirements."""
MOST_POOL_ITEMS = 1024
"""Each of them is compared with all that is no EIP."""
MOST_REQUIREMENTS = 256
_LENGTHS, _POOL_LENGTHS = {"maxItems": MOST_ITEMS}, {"maxItems": MOST_POOL_ITEMS}


class Rule(NamedTuple):
    """``message`` is what the API server says where ``text``, an expression over ``self``, is false."""

    text: str
    message: str


class Part(NamedTuple):
    """What is added to the schema of one field: limits of its own and rules."""

    limits: dict[str, int]
    rules: tuple[Rule, ...] = ()


def _ends(text: str) -> tuple[str, str]:
    """The two ends of a range.  An API server knows how long a part of a text can be, but not the parts of a split."""
    hyphen = f"{text}.indexOf('-')"
    return f"{text}.substring(0, {hyphen}).trim()", f"{text}.substring({hyphen} + 1).trim()"


def _ordered(*addresses: str) -> str:
    """That IPv4 addresses do not get smaller; each is split once, and stands in a list of one while it is looked at."""
    octets = [f"o{number}" for number in range(len(addresses))]
    values = [" + ".join(f"int({o}[{place}]) * {256 ** (3 - place)}" for place in range(4)) for o in octets]
    text = " && ".join(f"{one} <= {other}" for one, other in pairwise(values))
    for name, address in zip(octets, addresses, strict=True):
        text = f"[{address}.split('.')].all({name}, {text})"
    return text


_FIRST, _LAST = _ends("self")
_IS_RANGE = f"self.contains('-') && isIP({_FIRST}) && isIP({_LAST})"
_ADDRESSES = Rule(
    f"isIP(self) || isCIDR(self) || ({_IS_RANGE} && ip({_FIRST}).family() == ip({_LAST}).family())",
    "must be an address, a range (first-last, both whole addresses of one family) or a CIDR",
)
_UPWARDS = Rule(
    f"!({_IS_RANGE}) || ip({_FIRST}).family() == 6 || ip({_LAST}).family() == 6 || " + _ordered(_FIRST, _LAST),
    "the range runs backwards",
)
"""Of IPv4: CEL has no way to tell which of two IPv6 addresses is the larger."""
_CIDR = Rule("isCIDR(self)", "must be a CIDR")
_ADDRESS_OR_CIDR = Rule(
    f"isIP(self) || isCIDR(self) || ({_IS_RANGE} && ip({_FIRST}) == ip({_LAST}))", "must be an address or a CIDR"
)


def _of_family(family: int) -> Rule:
    """Of ranges the first end tells.  Items with another mistake pass: one message is enough."""
    text = (
        f"isIP(self) ? ip(self).family() == {family} : isCIDR(self) ? cidr(self).ip().family() == {family} : "
        f"!({_IS_RANGE}) || ip({_FIRST}).family() == {family}"
    )
    return Rule(text, f"must be IPv{family}")


def _possible(blocks: tuple[str, ...]) -> Rule:
    """Not of ranges whose ends are possible and that have one of ``blocks`` between them."""
    listed = ", ".join(f"cidr('{block}')" for block in blocks)
    text = (
        f"[{listed}].all(b, isIP(self) ? !b.containsIP(ip(self)) : "
        "isCIDR(self) ? !b.containsCIDR(cidr(self)) && !cidr(self).containsIP(b.ip()) : "
        f"!({_IS_RANGE}) || (!b.containsIP(ip({_FIRST})) && !b.containsIP(ip({_LAST}))))"
    )
    return Rule(text, "must be addresses that packets can leave with: no loopback, link-local or multicast")


_IMPOSSIBLE4 = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32")
_IMPOSSIBLE6 = ("::/127", "fe80::/10", "ff00::/8")


def _in_pool(family: int) -> Rule:
    """Of a default EIP that is right in itself; a range of IPv6 addresses passes, as their values cannot be told."""
    default = f"self.ipv{family}DefaultEIP"
    first, last = _ends("i")
    ranged = "i.contains('-')"
    if family == 4:
        ranged += (
            f" && isIP({first}) && isIP({last}) && ip({first}).family() == 4 && ip({last}).family() == 4 && "
            + _ordered(first, default, last)
        )
    text = (
        f"!has({default}) || !isIP({default}) || ip({default}).family() != {family} || "
        f"(has(self.ipv{family}) && self.ipv{family}.exists(i, isIP(i) ? ip(i) == ip({default}) : "
        f"isCIDR(i) ? cidr(i).containsIP(ip({default})) : {ranged}))"
    )
    return Rule(text, f"ipv{family}DefaultEIP must be in the pool ipv{family}")


def _filled(selector: str) -> str:
    """That a label selector, if it is there at all, selects by something."""
    return (
        f"(has({selector}.matchLabels) && size({selector}.matchLabels) > 0) || "
        f"(has({selector}.matchExpressions) && size({selector}.matchExpressions) > 0)"
    )


def _address(family: int) -> Part:
    text = f"self == '' || (isIP(self) && ip(self).family() == {family})"
    return Part({"maxLength": ADDRESS_LENGTH}, (Rule(text, f"must be an IPv{family} address"),))


def _items(*rules: Rule) -> Part:
    return Part({"maxLength": ADDRESS_LENGTH}, rules)


def _selector(path: str) -> dict[str, Part]:
    needs = Rule(
        "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : "
        "!has(self.values) || size(self.values) == 0",
        "In and NotIn need values, Exists and DoesNotExist take none",
    )
    return {
        f"{path}.matchLabels": Part({"maxProperties": MOST_ITEMS}),
        f"{path}.matchExpressions": Part({"maxItems": MOST_REQUIREMENTS}),
        f"{path}.matchExpressions[]": Part({}, (needs,)),
        f"{path}.matchExpressions[].values": Part({"maxItems": MOST_ITEMS}),
    }


_SELECTED = f"has(self.podSelector) && ({_filled('self.podSelector')})"
_POLICY: dict[str, Part] = {
    "spec.egressIP": Part(
        {},
        (
            Rule(
                "!has(self.useNodeIP) || !self.useNodeIP || ((!has(self.ipv4) || self.ipv4 == '') && "
                "(!has(self.ipv6) || self.ipv6 == ''))",
                "useNodeIP and an address exclude each other",
            ),
        ),
    ),
    "spec.egressIP.ipv4": _address(4),
    "spec.egressIP.ipv6": _address(6),
    "spec.appliedTo": Part(
        {},
        (
            Rule(
                f"({_SELECTED}) != (has(self.podSubnet) && size(self.podSubnet) > 0)",
                "exactly one of podSelector and podSubnet, and not empty",
            ),
        ),
    ),
    **_selector("spec.appliedTo.podSelector"),
    "spec.appliedTo.podSubnet": Part(_LENGTHS),
    "spec.appliedTo.podSubnet[]": _items(_CIDR),
    "spec.destSubnet": Part(_LENGTHS),
    "spec.destSubnet[]": _items(_ADDRESSES, _UPWARDS),
}
PARTS: dict[str, dict[str, Part]] = {
    "EgressGateway": {
        "spec.ippools": Part({}, (_in_pool(4), _in_pool(6))),
        "spec.ippools.ipv4": Part(_POOL_LENGTHS),
        "spec.ippools.ipv4[]": _items(_ADDRESSES, _UPWARDS, _of_family(4), _possible(_IMPOSSIBLE4)),
        "spec.ippools.ipv6": Part(_POOL_LENGTHS),
        "spec.ippools.ipv6[]": _items(_ADDRESSES, _UPWARDS, _of_family(6), _possible(_IMPOSSIBLE6)),
        "spec.ippools.ipv4DefaultEIP": _address(4),
        "spec.ippools.ipv6DefaultEIP": _address(6),
        "spec.nodeSelector.selector": Part(
            {}, (Rule(_filled("self"), "must not be empty: it would make every node a gateway"),)
        ),
        **_selector("spec.nodeSelector.selector"),
    },
    "EgressPolicy": _POLICY,
    "EgressClusterPolicy": {**_POLICY, **_selector("spec.appliedTo.namespaceSelector")},
    "EgressClusterInfo": {
        "": Part({}, (Rule("self.metadata.name == 'default'", "there is one EgressClusterInfo, named default"),)),
        "spec.extraCidr": Part(_LENGTHS),
        "spec.extraCidr[]": _items(_ADDRESS_OR_CIDR),
    },
}
"""By kind and path of the field, the items of a list being ``[]``."""


def add_rules(kind: str, root: dict[str, Any]) -> None:
    """Adds to the structural schema of ``kind``."""
    for path, part in PARTS.get(kind, {}).items():
        field = root
        for step in path.replace("[]", ".[]").split(".") if path else ():
            field = field["items"] if step == "[]" else field["properties"][step]
        field |= part.limits
        if part.rules:
            field["x-kubernetes-validations"] = [{"rule": rule.text, "message": rule.message} for rule in part.rules]

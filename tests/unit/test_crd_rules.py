"""The CEL rules of the CRDs: what they refuse, that ``validate`` refuses it too, and that they are what was tried."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.diagnostics import Collector
from egress_compiler.load import load_documents
from egress_compiler.load.json_text import parse_json
from egress_compiler.source import SourceFile
from egress_compiler.validate import validate_policies
from egress_compiler.validate.cel import MOST_ITEMS, PARTS
from tests.properties.search import examples
from tests.properties.strategies import Json
from tests.unit.cel_rules import refused

ROOT = Path(__file__).parents[2]
SELECTOR = {"matchLabels": {"a": "b"}}


def item(kind: str, **spec: Any) -> Json:
    return {
        "apiVersion": "egressgateway.spidernet.io/v1beta1",
        "kind": kind,
        "metadata": {"name": "default"},
        "spec": spec,
    }


def gateway(**pools: Any) -> Json:
    return item("EgressGateway", ippools=pools, nodeSelector={"selector": SELECTOR})


def policy(**spec: Any) -> Json:
    return item("EgressPolicy", **{"appliedTo": {"podSelector": SELECTOR}, **spec})


FIELDS: tuple[Callable[[str], Json], ...] = (
    lambda text: gateway(ipv4=[text]),
    lambda text: gateway(ipv6=[text]),
    lambda text: gateway(ipv4=["10.6.1.56-10.6.1.62"], ipv4DefaultEIP=text),
    lambda text: policy(egressIP={"ipv6": text}),
    lambda text: policy(destSubnet=[text]),
    lambda text: item("EgressClusterPolicy", appliedTo={"podSubnet": [text]}),
    lambda text: item("EgressClusterInfo", extraCidr=[text]),
)
TRIED = {
    "10.6.1.60": "x.x.x.x",
    "10.6.1.70/28": "x...xxx",
    "10.6.1.60-10.6.1.65": "x...x..",
    "10.6.1.65-10.6.1.60": ".......",
    "10.6.1.60 - 10.6.1.65": "x...x..",
    "9.255.255.255-10.0.0.0": "x...x..",
    "10.6.1.60-fd00::1": ".......",
    "10.06.1.60": ".......",
    "256.1.1.1": ".......",
    "10.6.1": ".......",
    "0.0.0.0": "....x.x",
    "0.0.0.0/0": "....xxx",
    "127.0.0.1": "....x.x",
    "169.254.0.0/17": "....xxx",
    "224.0.0.0/3": "....xxx",
    "255.255.255.255": "....x.x",
    "10.6.1.64/08": ".......",
    "10.6.1.64/33": ".......",
    "10.6.1.64/255.255.255.0": ".......",
    "10.6.1.60,10.6.1.61": ".......",
    "10.6.1.1-10.6.1.9-10.6.1.10": ".......",
    "-10.6.1.1": ".......",
    "10.6.1.1-": ".......",
    "10.6.1.1/24-10.6.2.1": ".......",
    "/24": ".......",
    "": "..xx...",
    "-": ".......",
    "fd00::60": ".x.xx.x",
    "FD00::60": ".x.xx.x",
    "fd00::60-fd00::65": ".x..x..",
    "fd00:6::/64": ".x..xxx",
    "fd00:6::1/64": ".x..xxx",
    "fd00::1%eth0": ".......",
    "::ffff:1.2.3.4": ".......",
    "::ffff:1.2.3.4/128": ".......",
    "::1.2.3.4": ".x.xx.x",
    "::": "...xx.x",
    "::1": "...xx.x",
    "fe80::1": "...xx.x",
    "fe80::/9": "....xxx",
    "ff02::1": "...xx.x",
    "1::2::3": ".......",
    "::/0": "....xxx",
    "db.example.com": ".......",
    "10.6.1.60:80": ".......",
    "10.6.1.60-10.6.1.60": "x...x.x",
    "fd00::1-fd00::1": ".x..x.x",
    "10.6.1.60-10.6.1.5x": ".......",
    "10.6.1.60- 127.0.0.1": "....x..",
    "10.6.1.60-10.6.1.1": ".......",
}
"""Which of ``FIELDS`` takes a text (x), as the API server's own code decides: k8s.io/apiextensions-apiserver 1.36, its
validation of CRDs and of objects.  It also takes the rules as cheap enough, with lists of twice the length.
"""


@pytest.mark.parametrize("text", TRIED)
def test_the_rules_decide_as_they_did_in_an_api_server(text: str) -> None:
    assert "".join("." if refused(field(text)) else "x" for field in FIELDS) == TRIED[text]


def valid(made: Json) -> bool:
    document = parse_json(SourceFile("x", json.dumps(made)))
    assert document is not None
    found = Collector()
    validate_policies([document], found)
    return not found.failed


ADDRESS = st.sampled_from(
    [
        *("10.6.1.60", "10.6.1.65", "9.255.255.255", "0.0.0.0", "127.0.0.1", "224.0.0.1", "10.06.1.60", "10.6.1", "a"),
        *("fd00::60", "FD00::65", "::", "::1", "fe80::1", "::ffff:1.2.3.4", "::1.2.3.4", "fd00::1%a", "1::2::3", ""),
    ]
)
LENGTH = st.sampled_from(["", "0", "1", "8", "24", "28", "31", "32", "33", "64", "112", "128", "129", "08", "x"])
TEXT = st.one_of(
    ADDRESS,
    st.builds("{}/{}".format, ADDRESS, LENGTH),
    st.builds("{}{}{}".format, ADDRESS, st.sampled_from(["-", " - ", "--"]), ADDRESS),
)
TEXTS = st.lists(TEXT, max_size=3)
REQUIREMENT = st.fixed_dictionaries(
    {"key": st.just("a"), "operator": st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"])},
    optional={"values": st.sampled_from([[], ["x"], [""]])},
)
SELECTORS = st.fixed_dictionaries(
    {},
    optional={"matchLabels": st.sampled_from([{}, {"a": "b"}]), "matchExpressions": st.lists(REQUIREMENT, max_size=2)},
)
POOLS = st.fixed_dictionaries(
    {}, optional={"ipv4": TEXTS, "ipv6": TEXTS, "ipv4DefaultEIP": ADDRESS, "ipv6DefaultEIP": ADDRESS}
)
EGRESS_IP = st.fixed_dictionaries(
    {},
    optional={
        "ipv4": ADDRESS,
        "ipv6": ADDRESS,
        "useNodeIP": st.booleans(),
        "allocatorPolicy": st.sampled_from(["", "default", "rr"]),
    },
)
SOURCES = st.fixed_dictionaries({}, optional={"podSelector": SELECTORS, "podSubnet": TEXTS})
POLICIES = st.fixed_dictionaries({"appliedTo": SOURCES}, optional={"egressIP": EGRESS_IP, "destSubnet": TEXTS})
OBJECTS = st.one_of(
    st.builds(lambda pools, by: item("EgressGateway", ippools=pools, nodeSelector={"selector": by}), POOLS, SELECTORS),
    st.builds(lambda spec: item("EgressPolicy", **spec), POLICIES),
    st.builds(lambda spec: item("EgressClusterPolicy", **spec), POLICIES),
    st.builds(lambda texts: item("EgressClusterInfo", extraCidr=texts), TEXTS),
)


@examples(150)
@given(OBJECTS)
def test_no_rule_refuses_what_validate_accepts(made: Json) -> None:
    if valid(made):
        assert refused(made) == []


def documents() -> list[tuple[str, Json]]:
    """Every object of a kind with rules in the examples and tests that can be read at all."""
    paths = [*ROOT.glob("examples/*/policies"), *ROOT.glob("tests/golden/**/policies*"), *ROOT.glob("docs/**/policies")]
    paths += [path for path in sorted((ROOT / "tests" / "errors").glob("*.yaml")) if len(path.suffixes) == 1]
    read: list[tuple[str, Json]] = []
    for path in paths:
        found = Collector()
        loaded = load_documents([path], found)
        if not found.failed:
            data = [document.data for document in loaded if isinstance(document.data, dict)]
            read += [(path.name, made) for made in data if isinstance(made["kind"], str) and made["kind"] in PARTS]
    return read


def test_what_is_valid_in_examples_and_tests_passes() -> None:
    good = [(name, made) for name, made in documents() if valid(made)]
    assert len(good) > 100
    assert [name for name, made in good if refused(made)] == []


CODES = {
    *("bad-address", "eip-impossible", "empty-selector", "no-source", "node-ip-and-eip", "not-in-pool", "two-sources"),
    *("selector-values", "wrong-family", "cluster-info-name"),
}
"""Of the diagnostics about one object that a schema cannot give, those that a rule gives."""


def test_the_rules_refuse_what_they_are_for() -> None:
    seen = set[str]()
    for name, made in documents():
        found = Collector()
        document = parse_json(SourceFile("x", json.dumps(made)))
        assert document is not None
        validate_policies([document], found)
        codes = {diagnostic.code for diagnostic in found.found if diagnostic.severity == "error"}
        if codes and codes <= CODES:
            seen |= codes
            assert refused(made), name
    assert seen == CODES


def test_every_list_and_text_that_a_rule_looks_at_has_a_length() -> None:
    """Else an API server takes it as long as a request may be, and the rule as too expensive."""
    for kind, parts in PARTS.items():
        for path, part in parts.items():
            if path.endswith("[]"):
                assert parts[path.removesuffix("[]")].limits["maxItems"] <= MOST_ITEMS, (kind, path)
            if any("isIP(self)" in rule.text or "isCIDR(self)" in rule.text for rule in part.rules):
                assert "maxLength" in part.limits, (kind, path)

"""The Markdown form: bounded, and inert whatever a name holds."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.model.policy import Ref
from egress_compiler.plan import MARKDOWN_LIMIT, Plan, as_markdown
from egress_compiler.plan.model import (
    DIRECT,
    Answer,
    Connections,
    EipChange,
    FileLines,
    Flow,
    Member,
    NodeChange,
    Note,
    PolicyChange,
    PolicyState,
    Region,
    Sources,
)
from tests.properties.search import examples

AFTER = Answer("eip", "10.6.1.61", "EgressPolicy shop/web", 1, "internet", "gw1")


def plan_of(count: int, name: str = "name", diff: tuple[str, ...] = ()) -> Plan:
    """A plan with ``count`` of everything."""
    file = FileLines(f"{name}.nft", "modify", 1, 2, diff)
    state = PolicyState("10.6.1.61", "", name)
    return Plan(
        against="bundle",
        fresh=False,
        policies=tuple(
            PolicyChange(Ref("EgressPolicy", name, str(n)), None, state, 1, 0, name, None) for n in range(count)
        ),
        sources=tuple(sources_of(n, name) for n in range(count)),
        gone=(name,) * count,
        eips=tuple(EipChange(name, f"10.6.1.{n}", "", name) for n in range(count)),
        inside={4: ((name,) * count, ()), 6: ((), ())},
        notes=(Note(name, True),),
        nodes=tuple(NodeChange(f"{name}{n}", "worker", "modify", (file,)) for n in range(count)),
        files=(file,),
        node_count=count,
    )


def sources_of(number: int, name: str) -> Sources:
    flow = Flow(Region(4, (), True), DIRECT, AFTER._replace(slot=number), Connections("kept", "go on"))
    return Sources("pod", tuple(Member(f"{name}/{number}-{n}") for n in range(20)), (flow,))


LEFT_OUT = re.compile(r"^(\d+) of (\d+) \w+ left out: this text is kept below 60,000 characters\.$", re.MULTILINE)


@pytest.mark.parametrize(("count", "name", "whole"), [(1, "web", True), (10, "web", True), (3000, "web", False)])
def test_never_above_the_limit_and_says_what_it_left_out(count: int, name: str, whole: bool) -> None:
    text = as_markdown(plan_of(count, name, ("@@ -1,1 +1,1 @@", "-a", f"+{name}") * count))
    assert len(text) <= MARKDOWN_LIMIT
    assert text.count("<details") == text.count("</details>") == 6
    shown = [
        len(re.findall(pattern, text, re.MULTILINE)) for pattern in (r"^\| \+ \| <code>Egress", r"^\| \+ \| <code>10")
    ]
    told = [(int(rest), int(of)) for rest, of in LEFT_OUT.findall(text)]
    if whole:
        assert (told, shown) == ([], [count, count])
    else:
        assert all(0 < rest <= of for rest, of in told)
        assert [of for _, of in told] == [count, count + 1, count, count + 1, count + 1]
        assert [count - told[0][0], count - told[2][0]] == shown


@pytest.mark.parametrize("limit", [4000, 8000, 20_000, MARKDOWN_LIMIT])
@pytest.mark.parametrize("name", ["some-longer-name" * 5, "|`<&@" * 200])
def test_every_limit_is_kept(limit: int, name: str) -> None:
    assert len(as_markdown(plan_of(500, name, (f"+{name}",)), limit)) <= limit


HOSTILE = st.text(st.sampled_from("|`<>&@#[]()*_~!\\\n\r\t\x1b\u202e\u2028é漢a-"), min_size=1, max_size=30)


@examples(300)
@given(HOSTILE, st.lists(HOSTILE, max_size=4))
def test_what_users_wrote_cannot_act(name: str, lines: list[str]) -> None:
    """Outside of fenced blocks no character of theirs is Markdown or HTML; fences hold; rows keep their cells."""
    text = as_markdown(plan_of(1, name, tuple(f"+{line}" for line in lines)))
    body: list[str] = []
    fenced: list[str] = []
    fence = ""
    for line in text.splitlines():
        if not fence and line.startswith("```"):
            fence = line.removesuffix("diff")
        elif fence and line == fence:
            fence = ""
        else:
            (fenced if fence else body).append(line)
    assert fence == ""
    assert len(fenced) == 2 * len(lines)
    assert all(line.startswith("+") for line in fenced)
    allowed = r"</?(?:code|summary|details|details open|br)>|<!-- egress-compiler plan -->|\*\*[^*]*\*\*"
    for line in body:
        rest = re.sub(allowed, "", re.sub(r"&#\d+;", "", line.removeprefix("| ~ ")))
        assert not set(rest.removeprefix("### ")) & set("`<>&@#[]*_~!\\\x1b\u202e"), line
        if line.startswith("| "):
            assert line.count("|") in (4, 5, 6, 7)
    tables = [line.count("|") for line in body if line.startswith("| + |")]
    assert set(tables) <= {5, 6, 7}


def test_the_documentation_states_the_limit() -> None:
    docs = Path(__file__).parents[2] / "docs" / "dry-run.md"
    assert f"{MARKDOWN_LIMIT:,} characters" in docs.read_text()

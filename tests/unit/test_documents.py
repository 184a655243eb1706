"""The fast YAML writer against PyYAML."""

from typing import Any, NamedTuple

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.render.documents import documents_text
from tests.properties.search import examples


class Dumper(yaml.CSafeDumper):
    """Without anchors for what stands twice as the same object: the writer is given trees."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


TEXTS = (
    *(
        "",
        "y",
        "no",
        "on",
        "true",
        "null",
        "~",
        "a",
        "a-b",
        "-a",
        "a-",
        "1e3",
        "0x1f",
        "1_000",
        "12:30:45",
        "1.5",
        ".inf",
    ),
    *("10.6.1.5", "10.6.1.5/28", "fd00::1", "fd00::", "::1", "::", "1:2:3:4:5:6:7:8", "fd00:1:2:3:4:5:6:7"),
    *("2026-01-02", "=", "<<", "*a", "&a", "!a", "%a", "@a", "`a", "{a}", "[a]", "a: b", "a #b", "'a'", '"a"', "a\\b"),
    *(" a", "a ", "a\tb", "é", "中文", "\x07", "x" * 300, "a " * 100),
)


def as_pyyaml(objects: list[dict[str, Any]]) -> str:
    return "".join(
        "---\n" + yaml.dump(item, Dumper=Dumper, sort_keys=True, width=1_000_000, allow_unicode=True)
        for item in objects
    )


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_written_as_pyyaml_writes_it(text: str) -> None:
    objects = [{"key": text, "list": [text, {"key": text}]}]
    assert documents_text(objects) == as_pyyaml(objects)


@pytest.mark.parametrize("text", ["a\nb", "\n", "a\u2028b", "a\n  b: c\n---\n", " \n\t"])
def test_a_text_of_several_lines_stands_on_one(text: str) -> None:
    objects = [{"key": [{"inner": text}], "other": text}]
    assert len(documents_text(objects).splitlines()) == 4
    assert list(yaml.safe_load_all(documents_text(objects))) == objects


class Row(NamedTuple):
    name: str
    addresses: tuple[str, ...]


@pytest.mark.parametrize("text", [*TEXTS, "a\nb", "a\u2028b", ", b: c", "a]", "a}", "fd00::", "a-b, c-d"])
def test_a_row_is_a_mapping_on_one_line(text: str) -> None:
    written = documents_text([{"rows": [Row(text, (text, "a-b")), Row(text, ())]}])
    assert len(written.splitlines()) == 4
    (read,) = yaml.safe_load_all(written)
    assert read == {"rows": [{"addresses": [text, "a-b"], "name": text}, {"addresses": [], "name": text}]}


SCALARS = st.one_of(
    st.sampled_from(TEXTS),
    st.text(st.characters(exclude_categories=["Zl", "Zp", "Cc", "Cs"]), max_size=12),
    st.integers(),
    st.booleans(),
    st.none(),
)
KEYS = st.sampled_from(["a", "b", "name", "ipv4", "spidernet.io/policy-name", "y", "1"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=12,
)


@examples(200)
@given(st.lists(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4), max_size=3))
def test_data_is_written_as_pyyaml_writes_it(objects: list[dict[str, Any]]) -> None:
    assert documents_text(objects) == as_pyyaml(objects)

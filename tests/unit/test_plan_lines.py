"""Line diffs: right for any two texts, and quick for large ones."""

import time

from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.plan.lines import count_lines, unified_diff
from tests.properties.search import examples

TEXTS = st.lists(st.sampled_from("abcdef{}"), max_size=40).map(lambda lines: "".join(f"{line}\n" for line in lines))


def applied(before: str, diff: tuple[str, ...]) -> str:
    """What patch makes of ``before``; every line of context must be as the diff has it."""
    old, new, position = before.splitlines(), [], 0
    for line in diff:
        if line.startswith("@@"):
            start, _, length = line.split(" ")[1][1:].partition(",")
            first = int(start) - (length != "0")
            new += old[position:first]
            position = first
        elif line.startswith("+"):
            new.append(line[1:])
        else:
            assert old[position] == line[1:]
            position += 1
            if line.startswith(" "):
                new.append(line[1:])
    return "".join(f"{line}\n" for line in [*new, *old[position:]])


@examples(300)
@given(TEXTS, TEXTS)
def test_a_diff_makes_the_new_text_of_the_old_one(before: str, after: str) -> None:
    assert applied(before, unified_diff(before, after)) == after
    assert (unified_diff(before, after) == ()) == (before == after)
    added, removed = count_lines(before, after)
    assert len(after.splitlines()) - len(before.splitlines()) == added - removed


def test_a_diff_reads_as_patch_writes_it() -> None:
    before = "".join(f"line {n}\n" for n in range(1, 21))
    after = before.replace("line 5\n", "").replace("line 15\n", "line 15\nline 15b\n")
    assert unified_diff(before, after) == (
        "@@ -2,7 +2,6 @@",
        " line 2",
        " line 3",
        " line 4",
        "-line 5",
        " line 6",
        " line 7",
        " line 8",
        "@@ -13,6 +12,7 @@",
        " line 13",
        " line 14",
        " line 15",
        "+line 15b",
        " line 16",
        " line 17",
        " line 18",
    )


def test_a_large_file_with_many_changes_takes_a_moment() -> None:
    before = "".join(
        f"10.{n >> 16}.{n >> 8 & 255}.{n & 255} : goto steer.x,\n" + "}\n" * (n % 3) for n in range(100_000)
    )
    after = before.replace("7.1 :", "7.1 : #").replace(".99 : goto steer.x", ".99 : goto steer.y")
    began = time.monotonic()
    diff = unified_diff(before, after)
    assert time.monotonic() - began < 10  # seconds; a quadratic comparison would take hours
    assert applied(before, diff) == after

"""docs/diagnostics.md says what the compiler says: it is made from the catalogue and the cases."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

from egress_compiler.diagnostics.codes import CODES, SECTIONS, Code
from tests.errors.cases import CASES, HERE, OTHER_INPUT, beside, check_golden, policies_of

ROOT = HERE.parents[1]
MANUAL = ROOT / "docs" / "diagnostics.md"
NO_CASE = frozenset({"too-large", *(code.name for code in SECTIONS["What a command was asked for"])})
"""Codes that no small file can show, and those about a command's arguments."""

HEAD = """\
# Diagnostics

Every finding has a code, a place, and says what would be right. Errors stop the run, all of them are told at once, and
nothing is written. Warnings do not stop it, unless `--warnings-as-errors` is given.

- Formats: `--format text|json|github|sarif`, on every command that reads policies. Text goes to standard error, the
  rest to standard output; SARIF is the findings alone, without the command's own answer. Programs read the code, never
  the words.
- A warning that is meant can be accepted in the file, on the object that it is about, with the reason:

      metadata:
        annotations:
          egressgateway.spidernet.io/accept-warnings: "selects-nothing: the pods come with the next release"

  Several are separated by `;`. A reason is asked for, and an acceptance that is no longer needed is a warning itself.

This page is made from the compiler's catalogue and from `tests/errors/`, where each example is a test: `make golden`.
"""


def test_manual_is_up_to_date(update_golden: bool) -> None:
    parts = [HEAD]
    for heading, codes in SECTIONS.items():
        parts.append(f"## {heading}\n")
        parts += [entry(code) for code in codes]
    check_golden(MANUAL, "\n".join(parts), update_golden)


def entry(code: Code) -> str:
    kind = " or ".join(code.severities)
    text = f"### `{code.name}`\n\n{kind.capitalize()}. {code.title}. {code.explanation}\n"
    if code.name in NO_CASE:
        return text
    expected = (HERE / f"{code.name}.expected").read_text(encoding="utf-8").rstrip("\n")
    return text + "\n" + indent(finding(expected, code.name), "    ") + "\n"


def finding(report: str, code: str) -> str:
    """The first finding of that code in a report."""
    findings = re.split(r"\n(?=\S)", report)
    return next(text for text in findings if f"[{code}]" in text.splitlines()[0])


def reported_codes() -> Iterator[tuple[str, str]]:
    """Every code that the source reports, with its severity."""
    for file in (ROOT / "egress_compiler").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            first = node.args[0]
            severities = {"error": "error", "warning": "warning", "_refuse": "error", "_stop": "error"}
            if node.func.attr in severities and isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value, severities[node.func.attr]


def test_each_code_of_the_source_is_in_the_catalogue() -> None:
    used = defaultdict(set)
    for code, severity in reported_codes():
        used[code].add(severity)
    known = {name: {str(severity) for severity in code.severities} for name, code in CODES.items()}
    assert {code: kinds for code, kinds in used.items() if not kinds <= known.get(code, set())} == {}


def test_each_code_has_a_case_that_shows_it() -> None:
    lacking = [
        name
        for name in CODES.keys() - NO_CASE
        if name not in CASES or f"[{name}]" not in (HERE / f"{name}.expected").read_text(encoding="utf-8")
    ]
    assert lacking == []


def test_what_no_file_can_show_is_tested_elsewhere() -> None:
    tests = [file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py") if file != Path(__file__)]
    assert [code for code in NO_CASE if not any(f'"{code}"' in text or f"[{code}]" in text for text in tests)] == []


def test_each_code_of_the_catalogue_is_in_the_source() -> None:
    """Also one that is handed on in a variable stands somewhere as it is."""
    files = [file for file in (ROOT / "egress_compiler").rglob("*.py") if file.name != "codes.py"]
    words = {
        node.value
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert sorted(CODES.keys() - words) == []


def test_each_file_belongs_to_a_case() -> None:
    known = {path.name for case in CASES for what in OTHER_INPUT for path in beside(case, what)}
    known |= {policies_of(case).name for case in CASES} | {f"{case}.expected" for case in CASES}
    strangers = [path.name for path in HERE.iterdir() if path.name not in known | {"shared", "__pycache__"}]
    assert [name for name in strangers if not name.endswith(".py")] == []


def test_each_page_of_the_manual_is_linked_to_by_name() -> None:
    """The codes are headings, so that SARIF's help and people's links stay."""
    headings = re.findall(r"^### `([a-z0-9-]+)`$", Path(MANUAL).read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == list(CODES)

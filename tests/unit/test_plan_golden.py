"""Plans of small changes, as a reviewer reads them: text, Markdown and JSON, byte by byte."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from egress_compiler import bundle
from egress_compiler.cli.move import pinned
from egress_compiler.cli.plan import plan_against
from egress_compiler.pipeline import Compilation, Inputs, compile_bundle
from egress_compiler.plan import Plan, as_json, as_markdown, as_text

CASES = Path(__file__).parents[1] / "golden" / "plan"


@dataclass(frozen=True)
class Also:
    """What changes beside the policies: a node that goes or gets another address, or an EIP that somebody moves."""

    without_node: str = ""
    readdressed: tuple[str, str] | None = None
    move: tuple[str, str] | None = None


NAMES: Mapping[str, Also] = {
    "eip-changes": Also(),
    "eip-moves": Also(move=("internet/10.6.1.61", "gw2")),
    "hostile-names": Also(),
    "new-policy": Also(),
    "node-goes": Also(without_node="gw1"),
    "node-readdressed": Also(readdressed=("10.6.1.11", "10.6.1.13")),
    "nothing": Also(),
    "policy-goes": Also(),
}
INPUTS = Inputs((Path("policies"),), (Path("cluster.yaml"),), lock=Path("egress.lock.json"))
BUNDLE = Path("bundle")


def prepare(case: str, policies: str, also: Also = NAMES["nothing"]) -> None:
    """The case's files in the current directory, where their paths are short."""
    Path("policies").mkdir(exist_ok=True)
    shutil.copy(CASES / "gateway.yaml", "policies")
    shutil.copy(CASES / case / policies, "policies/policies.yaml")
    cluster = yaml.safe_load((CASES / "cluster.yaml").read_text())
    cluster["items"] = [item for item in cluster["items"] if item["metadata"]["name"] != also.without_node]
    Path("cluster.yaml").write_text(yaml.safe_dump(cluster).replace(*also.readdressed or ("", "")))


def planned(case: str) -> tuple[Compilation, Plan]:
    also = NAMES[case]
    prepare(case, "before.yaml")
    before = compile_bundle(INPUTS)
    bundle.write(before, BUNDLE)
    prepare(case, "after.yaml", also)
    after = compile_bundle(INPUTS, pinned(before.allocation.lock, [also.move[0]], also.move[1]) if also.move else None)
    plan = plan_against(after, BUNDLE, diffs=case == "eip-changes")
    # The manifest's digests are of every file and setting there is: nothing to read in them, and they change often.
    files = tuple(replace(file, diff=()) if file.path == "manifest.json" else file for file in plan.files)
    return after, replace(plan, files=files)


@pytest.mark.parametrize("case", NAMES)
def test_plan_is_as_recorded(case: str, update_golden: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, plan = planned(case)
    forms = {
        "plan.txt": as_text(plan) + "\n",
        "plan.md": as_markdown(plan),
        "plan.json": json.dumps(as_json(plan), indent=2) + "\n",
    }
    for name, text in forms.items():
        recorded = CASES / case / name
        if update_golden:
            recorded.write_text(text)
        assert recorded.read_text() == text, f"{case}/{name} differs; 'make golden' rewrites it"


@pytest.mark.parametrize("case", NAMES)
def test_plan_is_empty_once_it_is_written(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    after, plan = planned(case)
    assert plan.empty == (case == "nothing")
    bundle.write(after, BUNDLE)
    assert plan_against(after, BUNDLE).empty

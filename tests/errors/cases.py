"""The cases of this directory: which files belong to one, and what the compiler says about them.

CASE.yaml holds policies; absent, shared/good.yaml does.  CASE.cluster.*, CASE.settings.yaml, CASE.inventory.yml,
CASE.lock.json and CASE.status.yaml are what their names say; the cluster is shared/cluster.yaml otherwise.
"""

from pathlib import Path

from egress_compiler.diagnostics import Diagnostic, InvalidInput, as_text
from egress_compiler.pipeline import Inputs, compile_bundle

HERE = Path(__file__).parent
CASES = sorted(path.name.removesuffix(".expected") for path in HERE.glob("*.expected"))


def diagnostics_of(case: str) -> tuple[Diagnostic, ...]:
    """Of a run in this directory, warnings included; accepted ones are left out, as in a report."""
    policies = Path(f"{case}.yaml")
    if any(HERE.glob(f"{case}.*.*")) and not policies.exists():
        policies = Path("shared/good.yaml")
    if (HERE / case).is_dir():
        policies = Path(case)
    inputs = Inputs(
        policies=(policies,),
        cluster=_beside(case, "cluster") or (Path("shared/cluster.yaml"),),
        settings=next(iter(_beside(case, "settings")), None),
        inventory=next(iter(_beside(case, "inventory")), None),
        lock=next(iter(_beside(case, "lock")), Path("shared/no.lock.json")),
        import_status=_beside(case, "status"),
    )
    try:
        found = compile_bundle(inputs).diagnostics
    except InvalidInput as problem:
        found = problem.diagnostics
    return tuple(diagnostic for diagnostic in found if not diagnostic.accepted)


def _beside(case: str, what: str) -> tuple[Path, ...]:
    return tuple(Path(path.name) for path in sorted(HERE.glob(f"{case}.{what}.*")))


def report_of(case: str) -> str:
    """What a person reads."""
    return "\n".join(as_text(diagnostic) for diagnostic in diagnostics_of(case)) + "\n"


def check_golden(path: Path, text: str, update: bool) -> None:
    """Compares, or rewrites with --update-golden."""
    if update:
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text

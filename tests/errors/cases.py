"""The cases of this directory: which files belong to one, and what the compiler says about them.

CASE.yaml holds policies; where there is none but other files, shared/good.yaml does, and where there is a directory
CASE, that.  CASE.cluster.*, CASE.settings.*, CASE.inventory.*, CASE.lock.* and CASE.status.* are what their names say;
the cluster is shared/cluster.yaml otherwise.
"""

from pathlib import Path

from egress_compiler.diagnostics import Diagnostic, InvalidInput, as_text
from egress_compiler.pipeline import Inputs, compile_bundle

HERE = Path(__file__).parent
CASES = sorted(path.name.removesuffix(".expected") for path in HERE.glob("*.expected"))
OTHER_INPUT = ("cluster", "settings", "inventory", "lock", "status")


def policies_of(case: str) -> Path:
    if (HERE / case).is_dir():
        return Path(case)
    alone = not any(beside(case, what) for what in OTHER_INPUT)
    return Path(f"{case}.yaml") if alone or (HERE / f"{case}.yaml").exists() else Path("shared/good.yaml")


def beside(case: str, what: str) -> tuple[Path, ...]:
    return tuple(Path(path.name) for path in sorted(HERE.glob(f"{case}.{what}.*")))


def diagnostics_of(case: str) -> tuple[Diagnostic, ...]:
    """Of a run in this directory, warnings included; accepted ones are left out, as in a report."""
    inputs = Inputs(
        policies=(policies_of(case),),
        cluster=beside(case, "cluster") or (Path("shared/cluster.yaml"),),
        settings=next(iter(beside(case, "settings")), None),
        inventory=next(iter(beside(case, "inventory")), None),
        lock=next(iter(beside(case, "lock")), Path("shared/no.lock.json")),
        import_status=beside(case, "status"),
    )
    try:
        found = compile_bundle(inputs).diagnostics
    except InvalidInput as problem:
        found = problem.diagnostics
    return tuple(diagnostic for diagnostic in found if not diagnostic.accepted)


def report_of(case: str) -> str:
    """What a person reads."""
    return "\n".join(as_text(diagnostic) for diagnostic in diagnostics_of(case)) + "\n"


def check_golden(path: Path, text: str, update: bool) -> None:
    """Compares, or rewrites with --update-golden."""
    if update:
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text

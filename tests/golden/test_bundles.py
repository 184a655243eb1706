"""Whole bundles of small inputs, byte by byte; and every generated file before the tool that will read it."""

import subprocess
from pathlib import Path

import pytest

from egress_compiler import bundle
from egress_compiler.lab.example import example_inputs
from egress_compiler.pipeline import Compilation, Inputs, compile_bundle

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
CASES = ["two-nodes", "followed"]


def compile_case(case: Path, lock: Path) -> Compilation:
    settings = case / "settings.yaml"
    given = settings if settings.exists() else None
    return compile_bundle(Inputs((case / "policies.yaml",), (case / "cluster.yaml",), settings=given, lock=lock))


@pytest.mark.parametrize("case", CASES)
def test_bundle_is_as_recorded(case: str, update_golden: bool, tmp_path: Path) -> None:
    compilation = compile_case(HERE / case, tmp_path / "lock.json")
    recorded = HERE / case / "bundle"
    if update_golden:
        bundle.write_files(compilation, recorded)
        (HERE / case / "lock.json").write_text(compilation.lock_text)
    found = {str(f.relative_to(recorded)): f.read_text() for f in recorded.rglob("*") if f.is_file()}
    assert found.keys() == compilation.files.keys()
    for name, text in compilation.files.items():
        assert found[name] == text, f"{name} differs; 'make golden' rewrites it"
    assert (HERE / case / "lock.json").read_text() == compilation.lock_text


@pytest.mark.parametrize("name", ["quickstart", "dual-stack-ha"])
def test_the_lock_files_of_the_examples_are_up_to_date(name: str) -> None:
    compilation = compile_bundle(example_inputs(EXAMPLES / name))
    assert compilation.lock_path.read_text() == compilation.lock_text
    assert compilation.diagnostics == ()


@pytest.mark.lab
@pytest.mark.parametrize("name", [*CASES, "quickstart", "dual-stack-ha"])
def test_every_file_is_accepted_by_its_tool(name: str, tmp_path: Path) -> None:
    """Each node's files in a network namespace of their own, in the order that their headers tell."""
    if name in CASES:
        compilation = compile_case(HERE / name, tmp_path / "lock.json")
    else:
        compilation = compile_bundle(example_inputs(EXAMPLES / name))
    bundle.write_files(compilation, tmp_path / "bundle")
    for plan in compilation.plans:
        commands = [
            f"ip link add {plan.kernel.interface} type veth peer name peer && ip link set {plan.kernel.interface} up",
            *(f"ip address add {own} dev {plan.kernel.interface}" for own in _own_addresses(compilation, plan.node)),
            "ip -batch vxlan.batch && bridge -batch fdb.batch",
            "sysctl -q -p sysctl.conf",
            "ip -batch routes.batch",
            "[ ! -e routes6.batch ] || ip -6 -batch routes6.batch",
            "nft -c -f nftables.nft && nft -f nftables.nft && nft -f nftables.nft",
            "[ ! -e keepalived.conf ] || keepalived --config-test --use-file=keepalived.conf",
            "[ ! -e notify.sh ] || { sh -n notify.sh && sh -n watch; }",
        ]
        done = subprocess.run(
            ["unshare", "--net", "sh", "-exc", "\n".join(commands)],
            cwd=tmp_path / "bundle" / "nodes" / plan.node,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{plan.node}:\n{done.stderr}"
        complaints = [line for line in done.stderr.splitlines() if line and not line.startswith("+")]
        assert complaints == []


def _own_addresses(compilation: Compilation, name: str) -> list[str]:
    plan = next(plan for plan in compilation.plans if plan.node == name)
    return [f"{plan.kernel.tunnel.underlay}/{64 if ':' in plan.kernel.tunnel.underlay else 24}"]

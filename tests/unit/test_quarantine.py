"""Objects with errors keep their last good state, and nobody else waits for them."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from egress_compiler.cli.app import app
from egress_compiler.diagnostics import Diagnostic, InvalidInput, Severity
from egress_compiler.pipeline import Compilation, Inputs, compile_bundle

ERRORS = Path(__file__).parents[1] / "errors"

GATEWAY = """\
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressGateway
metadata: {name: NAME}
spec:
  ippools: {ipv4: [POOL]}
  nodeSelector: {selector: {matchLabels: {egress: "true"}}}
"""
POLICY = """\
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressPolicy
metadata: {name: NAME, namespace: shop}
spec:
  egressGatewayName: internet
  egressIP: {ipv4: EIP}
  appliedTo: {podSelector: {matchLabels: {app: web}}}
"""


def gateway(name: str, pool: str) -> str:
    return GATEWAY.replace("NAME", name).replace("POOL", pool)


def policy(name: str, eip: str = "10.6.1.60", *, was: str = "", now: str = "") -> str:
    text = POLICY.replace("NAME", name).replace("EIP", eip)
    return text.replace(was, now) if was else text


GOOD = {
    "gateway.yaml": gateway("internet", "10.6.1.60-10.6.1.63"),
    "a.yaml": policy("a"),
    "b.yaml": policy("b", "10.6.1.61"),
}
BROKEN = policy("a", was="podSelector", now="podSelecter")


class Repository:
    def __init__(self, top: Path) -> None:
        self.top = top
        (top / "policies").mkdir()
        shutil.copy(ERRORS / "shared/cluster.yaml", top / "cluster.yaml")
        self.put(GOOD)

    def put(self, files: Mapping[str, str | None]) -> None:
        for name, text in files.items():
            path = self.top / "policies" / name
            path.unlink() if text is None else path.write_text(text, encoding="utf-8")

    def compile(self, quarantine: bool | None = True) -> Compilation:
        done = compile_bundle(Inputs((self.top / "policies",), (self.top / "cluster.yaml",), quarantine=quarantine))
        done.lock_path.write_text(done.lock_text, encoding="utf-8")
        return done


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def codes(diagnostics: tuple[Diagnostic, ...]) -> list[str]:
    return sorted({d.code for d in diagnostics if d.code in ("quarantined", "no-good-state") or d.severity == "error"})


def held(done: Compilation) -> list[str]:
    return [*done.quarantined]


def nodes(done: Compilation) -> dict[str, str]:
    """What reaches nodes, and who has which EIP."""
    return {name: text for name, text in done.files.items() if name.startswith("nodes/") or name == "status.yaml"}


WRONG: dict[str, tuple[dict[str, str | None], list[str], dict[str, str | None]]] = {
    # what is changed, what is held back, and what the outcome is that of
    "unknown field": ({"a.yaml": BROKEN}, ["EgressPolicy shop/a"], {}),
    "outside the pool": ({"a.yaml": policy("a", "10.6.9.9")}, ["EgressPolicy shop/a"], {}),
    "no such gateway": ({"a.yaml": policy("a", was="internet", now="nowhere")}, ["EgressPolicy shop/a"], {}),
    "a mistake beside a change": (
        {"a.yaml": BROKEN, "b.yaml": policy("b", "10.6.1.62")},
        ["EgressPolicy shop/a"],
        {"b.yaml": policy("b", "10.6.1.62")},
    ),
    "new and bad": ({"c.yaml": BROKEN.replace("name: a", "name: c")}, ["EgressPolicy shop/c"], {}),
    "defined twice": ({"c.yaml": policy("a", "10.6.1.63")}, ["EgressPolicy shop/a"], {}),
    "kind mistyped": ({"a.yaml": policy("a", was="EgressPolicy", now="EgresPolicy")}, ["EgressPolicy shop/a"], {}),
    "no kind": ({"a.yaml": policy("a", was="kind: EgressPolicy\n", now="x: y\n")}, ["EgressPolicy shop/a"], {}),
    "no object": ({"a.yaml": "[]\n"}, ["EgressPolicy shop/a"], {}),
    "bad syntax": ({"a.yaml": "a: [\n"}, ["EgressPolicy shop/a"], {}),
    "bad syntax beside good objects": (
        {"a.yaml": policy("a", "10.6.1.63") + "---\n" + policy("b", "10.6.1.62") + "---\na: [\n", "b.yaml": None},
        ["EgressPolicy shop/a", "EgressPolicy shop/b"],
        {},
    ),
    "no UTF-8": ({"a.yaml": "\udce4"}, ["EgressPolicy shop/a"], {}),
    "pools overlap, new": (
        {"0.yaml": gateway("another", "10.6.1.62-10.6.1.65")},
        ["EgressGateway another"],
        {},
    ),
    "a policy of a new bad gateway": (
        {"0.yaml": gateway("another", "nonsense"), "c.yaml": policy("c", was="internet", now="another")},
        ["EgressGateway another", "EgressPolicy shop/c"],
        {},
    ),
    "gateway broken": ({"gateway.yaml": gateway("internet", "10.6.1")}, ["EgressGateway internet"], {}),
    "gateway deleted in use": ({"gateway.yaml": None}, ["EgressGateway internet"], {}),
    "all at once": (
        {"gateway.yaml": gateway("internet", "x"), "a.yaml": BROKEN, "b.yaml": "a: ["},
        ["EgressGateway internet", "EgressPolicy shop/a", "EgressPolicy shop/b"],
        {},
    ),
    "cluster info": (
        {
            "info.yaml": "apiVersion: egressgateway.spidernet.io/v1beta1\nkind: EgressClusterInfo\n"
            "metadata: {name: default}\nspec: {extraCidr: [nonsense]}\n"
        },
        ["EgressClusterInfo default"],
        {},
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_last_good_state_stays(case: str, repository: Repository) -> None:
    wrong, names, same_as = WRONG[case]
    repository.compile()
    lock = repository.top / "policies" / "egress.lock.json"
    before = lock.read_bytes()
    repository.put(same_as)
    expected = repository.compile()
    lock.write_bytes(before)
    for name, text in wrong.items():
        repository.put({name: None}) if text is None else (repository.top / "policies" / name).write_bytes(
            text.encode("utf-8", "surrogateescape")
        )
    done = repository.compile()
    assert held(done) == names
    assert nodes(done) == nodes(expected)
    assert done.lock_text == expected.lock_text
    told = [d for d in done.diagnostics if d.code == "quarantined"]
    assert sorted(d.message.partition(" is quarantined: ")[0] for d in told) == names
    assert all(d.severity is Severity.WARNING for d in done.diagnostics)
    assert any(d.code != "quarantined" for d in done.diagnostics), "the error is told, too"
    again = repository.compile()
    assert (again.files, again.lock_text) == (done.files, done.lock_text)


def test_gateways_overlap_and_the_changed_one_gives_way(repository: Repository) -> None:
    """Wherever it stands, and whichever the diagnostic points at."""
    for name in ("0.yaml", "z.yaml"):
        repository.put({name: gateway("another", "10.6.1.70-10.6.1.73")})
        good = repository.compile()
        repository.put({name: gateway("another", "10.6.1.63-10.6.1.73")})
        done = repository.compile()
        assert held(done) == ["EgressGateway another"]
        assert nodes(done) == nodes(good)
        repository.put({name: None})
        assert held(repository.compile()) == []


def test_mending_and_deleting_end_it(repository: Repository) -> None:
    repository.compile()
    repository.put({"a.yaml": BROKEN})
    assert held(repository.compile()) == ["EgressPolicy shop/a"]
    repository.put({"a.yaml": policy("a", "10.6.1.62")})
    mended = repository.compile()
    assert held(mended) == []
    assert "10.6.1.62" in mended.files["status.yaml"]
    repository.put({"a.yaml": BROKEN})
    repository.compile()
    repository.put({"a.yaml": None})
    gone = repository.compile()
    assert held(gone) == []
    assert "shop/a" not in gone.lock_text


def test_a_policy_that_was_never_good_governs_nothing_and_says_so(repository: Repository) -> None:
    repository.compile()
    repository.put({"c.yaml": BROKEN.replace("name: a", "name: c")})
    messages = [d.message for d in repository.compile().diagnostics if d.code == "quarantined"]
    assert messages == ["EgressPolicy shop/c is quarantined: it was never good, and is left out: it governs nothing"]


def test_the_first_run_of_all(repository: Repository) -> None:
    repository.put({"a.yaml": BROKEN})
    done = repository.compile()
    assert held(done) == ["EgressPolicy shop/a"]
    assert "EgressPolicy shop/b" in done.lock_text


def test_without_a_record_what_is_in_force_is_not_left_out(repository: Repository) -> None:
    repository.compile(quarantine=False)
    repository.put({"a.yaml": BROKEN})
    with pytest.raises(InvalidInput) as refused:
        repository.compile()
    assert codes(refused.value.diagnostics) == ["no-good-state", "unknown-field"]


def test_the_cluster_s_errors_stay_errors(repository: Repository) -> None:
    repository.compile()
    cluster = repository.top / "cluster.yaml"
    cluster.write_text(cluster.read_text().replace("10.6.1.21", "10.6.1.60"))
    assert "10.6.1.60" in cluster.read_text()
    repository.put({"a.yaml": BROKEN})
    with pytest.raises(InvalidInput) as refused:
        repository.compile()
    assert any(d.severity is Severity.ERROR and "10.6.1.60" in d.message for d in refused.value.diagnostics)


def test_the_lock_file_remembers_only_where_it_was_asked(repository: Repository) -> None:
    assert '"good"' not in repository.compile(quarantine=None).lock_text
    assert '"good"' in repository.compile().lock_text
    repository.put({"b.yaml": policy("b", "10.6.1.63")})
    assert '"ipv4": "10.6.1.63"}, "appliedTo"' in repository.compile(quarantine=None).lock_text
    lines = repository.compile().lock_text.splitlines()
    assert sum("EgressPolicy shop/a" in line for line in lines) == 3, "allocation, answer number, object: a line each"


# ------------------------------------------------------------------------------------------------- the command line


def run(repository: Repository, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    monkeypatch.chdir(repository.top)
    inputs = ["-p", "policies", "-c", "cluster.yaml", "-s", "settings.yaml"]
    done = CliRunner().invoke(app, [arguments[0], *inputs, *arguments[1:]], standalone_mode=False)
    code = 1 if isinstance(done.exception, InvalidInput) else done.return_value or 0
    return code, done.output


def test_commands_and_their_exit_codes(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository.top / "settings.yaml").write_text("quarantine: true\n")
    assert run(repository, monkeypatch, "compile", "-o", "bundle")[0] == 0
    repository.put({"a.yaml": BROKEN})
    for arguments in (
        ["compile", "-o", "bundle"],
        ["plan", "--against", "bundle"],
        ["status"],
        ["explain", "--eip", "10.6.1.60"],
        ["explain", "shop/web-1"],
    ):
        code, output = run(repository, monkeypatch, *arguments)
        assert code == 2, arguments
        assert "EgressPolicy shop/a is quarantined: its last good state stays in force [quarantined]" in output
        assert "unknown field 'podSelecter'" in output
        assert run(repository, monkeypatch, *arguments, "--no-quarantine")[0] == 1
    assert json.loads(run(repository, monkeypatch, "compile", "-o", "bundle", "--check", "--format", "json")[1])
    # A file alone that nobody can read: a new object may stand in it.
    repository.put({"a.yaml": GOOD["a.yaml"], "c.yaml": "a: [\n"})
    code, output = run(repository, monkeypatch, "status")
    assert (code, "[quarantined]" in output, "policies/c.yaml:2:1: warning: " in output) == (2, False, True)
    repository.put({"a.yaml": BROKEN, "c.yaml": None})
    (repository.top / "settings.yaml").write_text("quarantine: false\n")
    assert run(repository, monkeypatch, "status")[0] == 1
    assert run(repository, monkeypatch, "status", "--quarantine")[0] == 2

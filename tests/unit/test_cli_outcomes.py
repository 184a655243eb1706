"""What every command ends with: exit codes, and diagnostics in every format."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from egress_compiler.cli import compile as compile_module
from egress_compiler.cli.app import COMMANDS, main
from egress_compiler.diagnostics.codes import CODES

ERRORS = Path(__file__).parents[1] / "errors"
GOOD = "shared/good.yaml"
WARNED = "selects-nothing.yaml"
WRONG = "two-sources.yaml"


class Done(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs a command line in this process; ``TMP`` in it is a directory of its own, the input tests/errors."""

    def run_it(*arguments: str) -> Done:
        given = [argument.replace("TMP", str(tmp_path)) for argument in arguments]
        monkeypatch.setattr(sys, "argv", ["egress-compiler", *given])
        monkeypatch.chdir(ERRORS)
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, *capsys.readouterr())

    return run_it


def compiling(command: str, policies: str, *more: str) -> list[str]:
    """``command`` with the options that all commands that compile share, and what it cannot do without."""
    needs = {
        "compile": ["--out", "TMP/bundle"],
        "plan": ["--against", "TMP/bundle", "--new"],
        "explain": ["shop/web-1"],
        "move": ["10.6.1.60", "--to", "gw1"],
        "status": [],
    }
    inputs = ["-p", policies, "-c", "shared/cluster.yaml", "-l", "TMP/egress.lock.json"]
    return [command, *inputs, *needs[command], *more]


COMPILING = ("compile", "plan", "explain", "move", "status")
UNDER_CONTROL = {
    0: [
        ["validate", GOOD],
        ["validate", WARNED],
        *(compiling(command, GOOD) for command in COMPILING),
        compiling("move", GOOD, "--dry-run"),
        ["schema"],
        ["schema", "settings"],
        ["schema", "--crds"],
        ["snapshot", "--help"],
        ["lab", "--help"],
        ["echo-server", "--help"],
        ["--version"],
    ],
    1: [
        ["validate", WRONG],
        ["validate", "there-is-no.yaml"],
        ["validate", "no-namespace.yaml", "--warnings-as-errors"],
        *(compiling(command, WRONG) for command in COMPILING),
        *(compiling(command, WARNED, "--warnings-as-errors") for command in COMPILING),
        ["explain", "--eip", "10.6.1.99", *compiling("status", GOOD)[1:]],
        ["explain", "--eip", "10.6.1", *compiling("status", GOOD)[1:]],
        ["explain", "shop/nobody", *compiling("status", GOOD)[1:]],
        compiling("status", GOOD, "-n", "shpo"),
        ["snapshot", "--kubeconfig", "there-is-none", "-o", "TMP/cluster.json"],
        ["lab", "probe", "--name", "is-not-up"],
        ["lab", "up", "shared"],
    ],
    2: [compiling("compile", GOOD, "--check"), compiling("plan", GOOD, "--exit-code")],
    64: [
        [],
        ["complie"],
        ["validate"],
        ["validate", GOOD, "--format", "xml"],
        ["compile", "-p", GOOD],
        compiling("compile", GOOD, "--nope"),
        compiling("explain", GOOD, "--to", "example.org"),
        compiling("explain", GOOD, "--to", "192.0.2.1:65536"),
        compiling("explain", GOOD, "--eip", "10.6.1.60"),
        compiling("status", GOOD, "-A", "-n", "shop"),
        ["compile", "-p", "shared", "-c", "shared/cluster.yaml", "--out", "shared/bundle"],
        ["plan"],
        ["move", "10.6.1.60"],
        ["schema", "egressgatway"],
        ["schema", "lock", "--crds"],
        ["snapshot"],
        ["lab", "up", "there-is-no-example"],
        ["lab", "failover", "--seconds", "0"],
        ["echo-server", "--nope"],
    ],
}


@pytest.mark.parametrize(
    ("code", "arguments"), [(code, arguments) for code, several in UNDER_CONTROL.items() for arguments in several]
)
def test_exit_codes(code: int, arguments: list[str], run: Run, tmp_path: Path) -> None:
    done = run(*arguments)
    assert done.code == code, done.out + done.err
    assert "Traceback" not in done.out + done.err
    if code in (1, 64):
        assert done.err, "a failure says why"
    if code:
        assert not any(tmp_path.iterdir()), "a failure writes nothing"


def test_every_command_is_among_them() -> None:
    tried = {arguments[0] for several in UNDER_CONTROL.values() for arguments in several if arguments}
    assert set(COMMANDS) <= tried


def test_a_disruptive_plan_is_refused(run: Run, tmp_path: Path) -> None:
    assert run(*compiling("compile", GOOD)).code == 0
    (tmp_path / "empty.yaml").write_text((ERRORS / GOOD).read_text(encoding="utf-8").partition("---")[0])
    arguments = compiling("plan", "TMP/empty.yaml", "--forbid-disruptive", "--exit-code")
    assert run(*compiling("plan", "TMP/empty.yaml", "--exit-code")).code == 2
    done = run(*arguments)
    assert done.code == 1
    assert "the plan is disruptive" in done.err


@pytest.mark.parametrize(("problem", "code"), [(RuntimeError("a \x1b[31mbug"), 70), (KeyboardInterrupt(), 130)])
def test_what_nobody_expected(problem: BaseException, code: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise problem

    monkeypatch.setattr(compile_module, "check_files", fail)
    done = run("validate", GOOD)
    assert done.code == code
    assert "\x1b" not in done.err
    assert ("internal error: RuntimeError: a \\x1b[31mbug" in done.err) == (code == 70)


def test_a_bug_shows_its_traceback_to_those_who_ask(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(compile_module, "check_files", fail)
    monkeypatch.setenv("EGRESS_COMPILER_DEBUG", "1")
    assert "Traceback" in run("validate", GOOD).err


def test_a_reader_that_has_seen_enough() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "egress_compiler", "schema", "--crds"]
    with os.fdopen(writing, "w") as nobody:
        done = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def codes_in(done: Done, output: str) -> list[str]:
    """The codes that the report in that format has."""
    if output == "json":
        return [entry["code"] for entry in json.loads(done.out)["diagnostics"]]
    if output == "sarif":
        return [result["ruleId"] for result in json.loads(done.out)["runs"][0]["results"]]
    marker = {"text": "[{}]", "github": "title={}::", "markdown": "[{}]"}[output]
    text = done.out if output == "github" else done.err
    return [code for code in CODES for _ in range(text.count(marker.format(code)))]


REPORTS = [
    *(("validate", output) for output in ("text", "json", "github", "sarif")),
    *((command, output) for command in COMPILING for output in ("text", "json", "github", "sarif")),
    ("plan", "markdown"),
]


def reporting(command: str, policies: str, *more: str) -> list[str]:
    return ["validate", policies, *more] if command == "validate" else compiling(command, policies, *more)


@pytest.mark.parametrize(("command", "output"), REPORTS)
def test_errors_have_every_format(command: str, output: str, run: Run) -> None:
    done = run(*reporting(command, WRONG, "--format", output))
    assert (done.code, codes_in(done, output)) == (1, ["two-sources"])
    if output not in ("json", "sarif"):
        assert done.err.endswith("1 error: nothing was written.\n")


@pytest.mark.parametrize(("command", "output"), REPORTS)
def test_warnings_have_every_format(command: str, output: str, run: Run) -> None:
    policies, code = ("no-namespace.yaml", "no-namespace") if command == "validate" else (WARNED, "selects-nothing")
    done = run(*reporting(command, policies, "--format", output))
    assert done.code == 0, done.err
    if (command, output) == ("status", "json"):
        # Its answer is a list, without a place for anything else.
        assert isinstance(json.loads(done.out), list)
        output = "text"
    assert codes_in(done, output) == [code]
    refused = run(*reporting(command, policies, "--format", output, "--warnings-as-errors"))
    assert (refused.code, codes_in(refused, output)) == (1, [code])
    if output not in ("json", "sarif"):
        assert refused.err.endswith("1 warning and --warnings-as-errors: nothing was written.\n")


@pytest.mark.parametrize("command", ["validate", *COMPILING])
def test_accepted_warnings_are_no_news_and_no_reason_to_stop(command: str, run: Run) -> None:
    text = run(*reporting(command, "accepted.yaml", "--warnings-as-errors"))
    assert (text.code, text.err) == (0, "")
    github = run(*reporting(command, "accepted.yaml", "--format", "github"))
    assert "::warning" not in github.out
    sarif: Any = json.loads(run(*reporting(command, "accepted.yaml", "--format", "sarif")).out)
    for result in sarif["runs"][0]["results"]:
        assert [entry["kind"] for entry in result["suppressions"]] == ["inSource"]


@pytest.mark.parametrize("shape", ["yaml", "json"])
def test_objects_on_standard_output_are_alone_there(shape: str, run: Run) -> None:
    done = run(*compiling("status", WARNED, "-o", shape))
    assert "selects-nothing" in done.err
    assert "selects-nothing" not in done.out


def test_files_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bundle").write_text("a file")
    assert "[unwritable]" in run(*compiling("compile", GOOD)).err
    (tmp_path / "egress.lock.json").mkdir()
    inputs = ["-p", GOOD, "-c", "shared/cluster.yaml"]
    assert "[unreadable]" in run("status", *inputs, "-l", "TMP/egress.lock.json").err
    kubeconfig = ["snapshot", "--kubeconfig", "there-is-none"]
    assert "[no-cluster]" in run(*kubeconfig, "-o", "TMP/x.json").err


ASKED_IN_VAIN = {
    "unknown-pod": (["explain", "shop/web-2"], "did you mean 'shop/web-1'?"),
    "unknown-eip": (["move", "10.6.1.61", "--to", "gw1"], "did you mean '10.6.1.60'?"),
    "unknown-node": (["move", "10.6.1.60", "--to", "worker1"], "its nodes are: gw1, gw2"),
    "no-such-family": (["explain", "10.244.3.10", "--to", "2001:db8::1"], ""),
    "unknown-namespace": (["status", "-n", "shpo"], "did you mean 'shop'?"),
}


@pytest.mark.parametrize("code", ASKED_IN_VAIN)
def test_what_is_not_there_is_told_with_what_is(code: str, run: Run, tmp_path: Path) -> None:
    cluster = (ERRORS / "shared" / "cluster.yaml").read_text(encoding="utf-8")
    (tmp_path / "cluster.yaml").write_text(cluster.replace(', {ip: "fd00:244:3::a"}', ""), encoding="utf-8")
    arguments, hint = ASKED_IN_VAIN[code]
    done = run(*arguments, "-p", GOOD, "-c", "TMP/cluster.yaml", "-l", "TMP/none.lock.json", "--format", "json")
    (found,) = json.loads(done.out)["diagnostics"]
    assert (done.code, found["code"]) == (1, code)
    assert found.get("hint", "") == hint

"""Ctrl-C, SIGTERM and SIGHUP at any time: one line, the shell's exit code, nothing half done."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ERRORS = Path(__file__).parents[1] / "errors"
ENTRIES = [
    [sys.executable, "-m", "egress_compiler"],
    [str(Path(sys.executable).with_name("egress-compiler"))],
]
# Tells the parent when the first line of ours runs: what the interpreter does before it is not ours to catch.
READY = "import egress_compiler.cli as c, os; os.write(1, b'.'); c.main()"


def started(*arguments: str, **more: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # type: ignore[call-overload]  # options are passed on
        [sys.executable, "-c", READY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ERRORS, **more
    )


@pytest.mark.parametrize(
    ("number", "line"),
    [(signal.SIGINT, b"interrupted"), (signal.SIGTERM, b"terminated"), (signal.SIGHUP, b"hung up")],
)
def test_while_modules_load(number: signal.Signals, line: bytes) -> None:
    def heed() -> None:
        # nohup, which the tests may run under, has it ignored.
        signal.signal(number, signal.SIG_DFL)

    codes = set()
    for step in range(9):
        with started("validate", "shared/good.yaml", preexec_fn=heed) as process:
            assert process.stdout is not None
            assert process.stdout.read(1) == b"."
            time.sleep(0.09 * step)
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        codes.add(process.returncode)
        if process.returncode == 128 + number:
            assert err == b"egress-compiler: " + line + b"\n"
        elif process.returncode == 0:
            assert (out, err) == (b"Valid: 1 gateway and 1 policy.\n", b"")
    # A signal that comes after the interpreter has put its handlers away ends it by itself.
    assert codes <= {0, 128 + number, -number}
    assert 128 + number in codes


@pytest.mark.parametrize("entry", ENTRIES, ids=["module", "script"])
def test_both_entries(entry: list[str]) -> None:
    process = subprocess.Popen([*entry, "echo-server"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ERRORS)
    with process:
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert b"Traceback" not in err


def test_what_the_starter_ignores_stays_ignored() -> None:
    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    with started("validate", "shared/good.yaml", preexec_fn=ignore) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[0] == b"Valid: 1 gateway and 1 policy.\n"
    assert process.returncode == 0


def test_while_it_writes_all_or_nothing_is_written(tmp_path: Path) -> None:
    """Whenever it comes: bundle and lock file are both there or neither, and no traces of the writing."""
    outcomes = set()
    for step in range(8):
        place = tmp_path / str(step)
        place.mkdir()
        (place / "policies").mkdir()
        (place / "policies" / "p.yaml").write_bytes((ERRORS / "shared" / "good.yaml").read_bytes())
        command = ["compile", "-p", f"{place}/policies", "-c", "shared/cluster.yaml", "--out", f"{place}/bundle"]
        with started(*command) as process:
            assert process.stdout is not None
            process.stdout.read(1)
            time.sleep(0.4 + 0.08 * step)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        assert b"Traceback" not in err
        bundle, lock = place / "bundle", place / "policies" / "egress.lock.json"
        assert bundle.exists() == lock.exists()
        assert not [*(place / "policies").glob(".*")]
        assert not (bundle / ".egress-compiler").exists()
        outcomes.add(bundle.exists())
    assert outcomes

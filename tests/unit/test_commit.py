"""Bundle and lock file change together or not at all."""

import ctypes
import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from egress_compiler import commit
from egress_compiler.commit import STAGE, FileChange, HalfWritten, heal, interrupted, replace_file, write_together
from egress_compiler.exclusive import sole_writer

ERRORS = Path(__file__).parents[1] / "errors"
COMMAND = [sys.executable, "-m", "egress_compiler"]
BEFORE = {"a": "a\n", "nodes/one/x": "x\n", "nodes/two/y": "y\n", "lock": "old\n"}
AFTER = {"a": "A\n", "nodes/one/x": "X\n", "nodes/three/z": "#!/bin/sh\n", "lock": "new\n"}


def tree(top: Path) -> dict[str, str]:
    return {str(path.relative_to(top)): path.read_text() for path in sorted(top.rglob("*")) if path.is_file()}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for name, text in BEFORE.items():
        path = tmp_path / ("out" if name != "lock" else "policies") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def write(top: Path) -> None:
    out = top / "out"
    names = sorted((BEFORE.keys() | AFTER.keys()) - {"lock"})
    changes = [FileChange(out / name, BEFORE.get(name), AFTER.get(name)) for name in names]
    write_together(changes, out, FileChange(top / "policies" / "lock", BEFORE["lock"], AFTER["lock"]))


def placed(files: dict[str, str]) -> dict[str, str]:
    return {("policies/" if name == "lock" else "out/") + name: text for name, text in files.items()}


def test_all_at_once(top: Path) -> None:
    write(top)
    assert tree(top) == placed(AFTER)
    assert not (top / "out/nodes/two").exists()
    assert stat.S_IMODE((top / "out/nodes/three/z").stat().st_mode) == 0o755
    assert heal(top / "out") is None


@pytest.mark.parametrize("many", [1, 500])
def test_all_is_synced_before_the_journal_names_it(many: int, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few files each by itself, many by their file system, which says what it could not write."""
    monkeypatch.setattr(commit, "MANY", many)
    synced = list[str]()
    sync = os.fsync

    def recorded(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        sync(handle)

    monkeypatch.setattr(os, "fsync", recorded)
    write(top)
    assert tree(top) == placed(AFTER)
    before = synced[: synced.index("journal.json.new")]
    assert before == ([] if many == 1 else ["1", "2", "3"])


def test_where_one_file_system_cannot_be_synced_all_are(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = list[bool]()
    monkeypatch.setattr(commit, "MANY", 1)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_names, **_options: SimpleNamespace(syncfs=lambda _handle: -1))
    monkeypatch.setattr(ctypes, "get_errno", lambda: errno.ENOSYS)
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    write(top)
    assert tree(top) == placed(AFTER)
    assert synced


def test_a_file_system_that_could_not_write_all_ends_the_run(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "MANY", 1)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_names, **_options: SimpleNamespace(syncfs=lambda _handle: -1))
    monkeypatch.setattr(ctypes, "get_errno", lambda: errno.ENOSPC)
    with pytest.raises(OSError, match="No space left on device"):
        write(top)
    assert tree(top) == placed(BEFORE)


@pytest.mark.parametrize("failing", range(1, 8))
def test_a_rename_that_fails_is_undone(failing: int, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is the journal's, the last the lock file's."""
    calls = 0
    replace: Callable[[Path, Path], Path] = Path.replace

    def counted(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(30, "Read-only file system")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", counted)
    if failing > 5:
        write(top)
        assert tree(top) == placed(AFTER)
        return
    with pytest.raises(OSError, match="Read-only file system") as problem:
        write(top)
    assert not str(problem.value.filename).count(STAGE)
    assert tree(top) == placed(BEFORE)
    assert not (top / "out/nodes/three").exists()


def test_what_cannot_be_undone_is_healed_later(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace: Callable[[Path, Path], Path] = Path.replace

    def broken(self: Path, target: Path) -> Path:
        if target.name == "x":
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(HalfWritten):
        write(top)
    assert interrupted(top / "out")
    monkeypatch.undo()
    assert heal(top / "out") is False
    assert tree(top) == placed(BEFORE)


@pytest.mark.parametrize("last", range(1, 12))
def test_a_crash_at_every_step_is_healed(last: int, top: Path) -> None:
    """The process ends at its ``last`` change of a directory, as by a loss of power."""
    child = os.fork()
    if not child:
        calls = 0

        def counted(event: str, _: object) -> None:
            nonlocal calls
            calls += event in ("os.rename", "os.remove", "os.mkdir")
            if calls > last:
                os._exit(1)

        sys.addaudithook(counted)
        write(top)
        os._exit(0)
    os.waitpid(child, 0)
    cut_off, complete = interrupted(top / "out"), heal(top / "out")
    assert cut_off == (complete is not None)
    found = tree(top)
    found.pop("policies/.lock.new", None)
    assert found == placed(AFTER if complete else BEFORE) or (complete is None and found == placed(AFTER))
    assert not (top / "out" / STAGE).exists()
    write(top)
    assert tree(top) == placed(AFTER)


@pytest.mark.parametrize("name", ["/etc/passwd", "../victim", "nodes/../../victim", ".."])
def test_a_journal_leads_nowhere_else(name: str, top: Path) -> None:
    """It may come with a repository."""
    (top / "victim").write_text("here")
    (top / "out" / STAGE).mkdir()
    journal = {"steps": [[name, True, False]], "directories": [], "beside": None}
    (top / "out" / STAGE / "journal.json").write_text(json.dumps(journal))
    assert heal(top / "out") is None
    assert (top / "victim").exists()


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/file")
    replace_file(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/file").read_text() == "text"


def test_a_file_that_cannot_be_written_leaves_no_directories(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file/below/x"):
        replace_file(tmp_path / "file/below/x", "")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_no_file_is_written_to_and_stays() -> None:
    replace_file(Path("/dev/null"), "text")
    assert not Path("/dev/null").is_file()
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        replace_file(Path("/dev/full"), "text")


def test_a_directory_in_place_of_the_lock_file(top: Path) -> None:
    (top / "policies/lock").unlink()
    (top / "policies/lock").mkdir()
    with pytest.raises(OSError, match="policies/lock"):
        write(top)
    assert tree(top) == {name: text for name, text in placed(BEFORE).items() if name != "policies/lock"}


# ------------------------------------------------------------------------------------------------- the command line


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    shutil.copy(ERRORS / "shared/good.yaml", tmp_path / "policies")
    shutil.copy(ERRORS / "shared/cluster.yaml", tmp_path / "cluster.yaml")
    return tmp_path


COMPILE = ["compile", "-p", "policies", "-c", "cluster.yaml", "--out", "bundle"]


def run(arguments: list[str], place: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """In a mount namespace of its own when ``before``, shell that is run first, asks for one."""
    shell = ["unshare", "--mount", "sh", "-c", f'{before}\n"$@"', "sh"] if before else []
    return subprocess.run(
        [*shell, *COMMAND, *arguments], cwd=place, capture_output=True, text=True, check=False, timeout=120
    )


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems of its own: needs root")


@needs_root
@pytest.mark.lab
@pytest.mark.parametrize("size", ["4k", "8k", "16k", "32k", "64k", "128k"])
def test_a_full_disk_under_the_bundle(size: str, repository: Path) -> None:
    (repository / "bundle").mkdir()
    done = run(COMPILE, repository, f"mount -t tmpfs -o size={size} none bundle; trap 'find bundle >&2' EXIT")
    assert done.returncode == 1
    assert "bundle/" in done.stderr
    assert "No space left on device [unwritable]" in done.stderr
    assert "nothing was written" in done.stderr
    assert done.stderr.endswith("\nbundle\n"), "nothing is left in it"
    assert [path.name for path in (repository / "policies").iterdir()] == ["good.yaml"]


@needs_root
@pytest.mark.lab
@pytest.mark.parametrize(
    "mounting",
    [
        "mount -t tmpfs -o size=4k none policies; cp good.yaml policies; head -c 4k /dev/zero >policies/filler",
        "mount --bind policies policies; mount -o remount,ro,bind policies",
    ],
    ids=["full", "read-only"],
)
def test_a_lock_file_that_cannot_be_written(mounting: str, repository: Path) -> None:
    shutil.copy(repository / "policies/good.yaml", repository)
    done = run(COMPILE, repository, mounting)
    assert done.returncode == 1, done.stdout
    assert "egress.lock.json cannot be written" in done.stderr
    assert not (repository / "bundle").exists()


@needs_root
@pytest.mark.lab
def test_a_read_only_lock_file_keeps_the_bundle_as_it_was(repository: Path) -> None:
    assert run(COMPILE, repository).returncode == 0
    before = tree(repository)
    policies = (repository / "policies/good.yaml").read_text().replace("10.6.1.60-", "10.6.1.61-")
    (repository / "policies/good.yaml").write_text(policies.replace("fd00:6::60-", "fd00:6::61-"))
    lock = "policies/egress.lock.json"
    done = run([*COMPILE, "--rebalance"], repository, f"mount --bind {lock} {lock}; mount -o remount,ro,bind {lock}")
    assert done.returncode == 1, done.stdout
    assert "nothing was written" in done.stderr
    after = tree(repository)
    assert {name for name in after if after[name] != before.get(name)} == {"policies/good.yaml"}


def test_two_runs_at_once_wait_for_each_other(repository: Path) -> None:
    with sole_writer(repository / "bundle", repository / "policies" / "egress.lock.json"):
        second = subprocess.Popen([*COMMAND, *COMPILE], cwd=repository, stderr=subprocess.PIPE, text=True)
        assert second.stderr is not None
        assert "another run is writing to" in second.stderr.readline()
        assert not (repository / "bundle").exists()
    assert second.wait(timeout=60) == 0
    second.stderr.close()
    assert (repository / "bundle").exists()


def test_many_runs_at_once(repository: Path) -> None:
    runs = [subprocess.Popen([*COMMAND, *COMPILE], cwd=repository, stderr=subprocess.DEVNULL) for _ in range(4)]
    assert [one.wait(timeout=120) for one in runs] == [0, 0, 0, 0]
    assert run([*COMPILE, "--check"], repository).returncode == 0


def test_a_run_that_was_killed_is_told_of(repository: Path) -> None:
    assert run(COMPILE, repository).returncode == 0
    whole = tree(repository)
    out = repository / "bundle"
    (out / STAGE / "new").mkdir(parents=True)
    (out / STAGE / "old").mkdir()
    (out / "manifest.json").replace(out / STAGE / "old/1")
    (out / "manifest.json").write_text(whole["bundle/manifest.json"].replace("sha256:", "sha256:0"))
    (out / STAGE / "new/2").write_text("never placed\n")
    journal = {
        "steps": [["new", True, False], ["manifest.json", True, True], ["status.yaml", True, True]],
        "directories": [],
        "beside": None,
    }
    (out / STAGE / "journal.json").write_text(json.dumps(journal))
    told = run(["plan", "-p", "policies", "-c", "cluster.yaml", "--against", "bundle"], repository)
    assert "an earlier run was cut off while it wrote [interrupted-write]" in told.stderr
    assert "[interrupted-write]" in run([*COMPILE, "--check"], repository).stderr
    done = run(COMPILE, repository)
    assert done.returncode == 0
    assert "was put back as it was before that run [interrupted-write]" in done.stderr
    assert tree(repository) == whole
    assert "interrupted-write" not in run(COMPILE, repository).stderr


def test_killed_while_it_writes(repository: Path) -> None:
    """Whatever is left, the next run is whole, and lock file and bundle belong together."""
    for step in range(6):
        shutil.rmtree(repository / "bundle", ignore_errors=True)
        (repository / "policies/egress.lock.json").unlink(missing_ok=True)
        process = subprocess.Popen([*COMMAND, *COMPILE], cwd=repository, stdout=subprocess.DEVNULL)
        time.sleep(0.5 + 0.08 * step)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert run(COMPILE, repository).returncode == 0
        assert run([*COMPILE, "--check"], repository).returncode == 0
        assert not (repository / "bundle" / STAGE).exists()


assert commit.STAGE.startswith("."), "loaders pass over hidden names"

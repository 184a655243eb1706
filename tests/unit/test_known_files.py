"""What is known is not read again; what somebody has touched is."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from egress_compiler import bundle, known_files
from egress_compiler.pipeline import Compilation, Inputs, compile_bundle

GOLDEN = Path(__file__).parents[1] / "golden"
RULES = "nodes/worker1/nftables.nft"


@pytest.fixture
def compilation(tmp_path: Path) -> Compilation:
    lock = tmp_path / "egress.lock.json"
    return compile_bundle(
        Inputs((GOLDEN / "explain" / "policies.yaml",), (GOLDEN / "plan" / "cluster.yaml",), lock=lock)
    )


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files of nodes that are read; files count as known 20 ms after they were written."""
    read, paths = bundle._read, list[str]()

    def recorded(path: str) -> str | None:
        if "nodes" in Path(path).parts:
            paths.append(Path(path).name)
        return read(path)

    monkeypatch.setattr(bundle, "_read", recorded)
    monkeypatch.setattr(known_files, "QUIET_NS", 20_000_000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return paths


@pytest.fixture
def out(tmp_path: Path, compilation: Compilation, opened: list[str]) -> Path:
    """A bundle that was written, and seen by a second run."""
    where = tmp_path / "out"
    for _ in range(2):
        bundle.write(compilation, where)
        time.sleep(0.05)
    opened.clear()
    return where


def test_a_bundle_that_is_known_is_not_read(out: Path, compilation: Compilation, opened: list[str]) -> None:
    assert bundle.changes(compilation, out) == bundle.write(compilation, out) == ()
    assert opened == []


def test_one_changed_file_alone_is_read_and_written(out: Path, compilation: Compilation, opened: list[str]) -> None:
    files = {**compilation.files, RULES: "# another\n"}
    digest = bundle._digest(compilation.files[RULES])
    files["manifest.json"] = files["manifest.json"].replace(digest, bundle._digest(files[RULES]))
    changed = bundle.write(replace(compilation, files=files), out)
    assert [change.path for change in changed] == [out / "manifest.json", out / RULES]
    assert {*opened} == {"nftables.nft"}


def edited(path: Path) -> None:
    """Neither size nor modification time tell it."""
    status, text = path.stat(), path.read_text()
    path.write_text(text.replace("1", "2"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def taken_over(path: Path) -> None:
    """Another file with the same times in its place."""
    other = path.with_name("other")
    shutil.copy2(path, other)
    edited(other)
    other.replace(path)


@pytest.mark.parametrize("touch", [edited, Path.unlink, taken_over])
def test_what_was_touched_is_put_right(
    touch: Callable[[Path], None], out: Path, compilation: Compilation, opened: list[str]
) -> None:
    touch(out / RULES)
    assert [change.path for change in bundle.changes(compilation, out)] == [out / RULES]
    assert [change.path for change in bundle.write(compilation, out)] == [out / RULES]
    assert (out / RULES).read_text() == compilation.files[RULES]
    assert {*opened} == {"nftables.nft"}


@pytest.mark.parametrize("preserving", [True, False])
def test_a_copy_is_read(preserving: bool, out: Path, compilation: Compilation) -> None:
    edited(out / RULES)
    shutil.move(out, out.with_name("edited"))
    copy = shutil.copy2 if preserving else shutil.copy
    shutil.copytree(out.with_name("edited"), out, copy_function=copy)
    assert [change.path for change in bundle.write(compilation, out)] == [out / RULES]


def test_a_thorough_look_reads_everything(out: Path, compilation: Compilation, opened: list[str]) -> None:
    assert bundle.changes(compilation, out, thorough=True) == ()
    assert len(opened) == sum(name.startswith("nodes/") for name in compilation.files)


@pytest.mark.parametrize("record", [b"", b"{", b'{"version": 2, "files": {}}', b'{"files": {"x": 1}}'])
def test_a_record_that_is_none_makes_all_be_read(
    record: bytes, tmp_path: Path, out: Path, compilation: Compilation, opened: list[str]
) -> None:
    (path,) = (tmp_path / "cache" / "egress-compiler").iterdir()
    path.write_bytes(record)
    edited(out / RULES)
    assert [change.path for change in bundle.write(compilation, out)] == [out / RULES]
    assert len({*opened}) > 1


def test_a_directory_for_the_record_need_not_be_there(
    tmp_path: Path, compilation: Compilation, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert bundle.write(compilation, tmp_path / "out")
    assert bundle.write(compilation, tmp_path / "out") == ()


def test_a_file_that_was_just_written_is_read_once_more(
    tmp_path: Path, compilation: Compilation, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_files, "QUIET_NS", 3_600_000_000_000)
    for _ in range(3):
        opened.clear()
        bundle.write(compilation, tmp_path / "out")
    assert len(opened) == sum(name.startswith("nodes/") for name in compilation.files)

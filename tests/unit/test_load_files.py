"""Paths that are files, directories and neither: what is read, and that nothing waits or fills the memory."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from egress_compiler.diagnostics import Collector
from egress_compiler.load import files, load_cluster, load_documents, load_lock, load_settings
from egress_compiler.load.files import find_files, read_bytes
from egress_compiler.pipeline import Inputs

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def found_in(path: Path) -> tuple[list[str], list[str]]:
    """Names of the files, and the messages without the directory's own path."""
    found = Collector()
    names = [str(file.relative_to(path)) for file in find_files([path], found, leave_out=("left.yaml",))]
    return names, [d.message.replace(str(path), "DIR") for d in found.found]


def test_directories_are_searched_for_yaml_and_json(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "sub/c.json", "x.txt", ".hidden.yaml", ".git/d.yaml", "left.yaml", "sub/left.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert found_in(tmp_path) == (["a.yml", "b.yaml", "sub/c.json"], [])


def test_a_file_counts_once_under_all_its_names(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("")
    (tmp_path / "b.yaml").symlink_to("a.yaml")
    names, messages = found_in(tmp_path)
    assert (len(names), messages) == (1, [])


def test_loops_of_links_end(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x: 1\n")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self.yaml").symlink_to("self.yaml")
    found = Collector()
    load_documents([tmp_path], found)
    assert [d.code for d in found.found if d.code == "unreadable"] == ["unreadable"]
    assert "is a loop of symbolic links" in next(d.message for d in found.found if d.code == "unreadable")
    found = Collector()
    assert find_files([tmp_path / "self.yaml"], found) == ()
    assert found.failed


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none.yaml", "does not exist"),
        ("a.yaml/b.yaml", "does not exist: what should be a directory on the way is a file"),
        ("x" * 300, "is too long for a path"),
        ("nul\0.yaml", "cannot be read"),
    ],
)
def test_paths_that_are_no_files(name: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("")
    found = Collector()
    assert find_files([tmp_path / name], found) == ()
    assert why in found.found[0].message


def test_a_link_to_nothing_in_a_directory_is_an_error_not_a_policy_less(tmp_path: Path) -> None:
    (tmp_path / "gone.yaml").symlink_to("elsewhere.yaml")
    found = Collector()
    load_documents([tmp_path], found)
    assert [d.code for d in found.found] == ["unreadable"]


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/full", "/dev/null", "/proc/kmsg"])
def test_devices_are_refused_at_once(device: str) -> None:
    if not Path(device).exists():
        pytest.skip(f"no {device}")
    began = time.monotonic()
    for load in (load_documents, load_cluster):
        found = Collector()
        load([Path(device)], found)
        assert found.failed
    for one in (load_settings, load_lock):
        found = Collector()
        one(Path(device), found)
        assert found.failed
    assert time.monotonic() - began < 5


def piped(content: bytes) -> Path:
    """A pipe as a shell hands it over for <(command)."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(content)
    return Path(f"/dev/fd/{reading}")


GATEWAY = b"""\
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressGateway
metadata: {name: g}
spec: {nodeSelector: {selector: {matchLabels: {a: b}}}}
"""


def test_pipes_are_read_where_they_were_named(tmp_path: Path) -> None:
    found = Collector()
    pipe = piped(GATEWAY)
    for _ in range(2):  # who asks twice, as plan does, is not waited for
        (gateway,) = load_documents([pipe], found)
        assert gateway.source.name == str(pipe)
    nodes = piped(b'{"kind": "Node", "metadata": {"name": "n"}, "status": {"addresses": []}}')
    load_cluster([nodes], Collector())
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    threading.Thread(target=lambda: fifo.write_bytes(GATEWAY)).start()
    assert len(load_documents([fifo], found)) == 1
    assert found.found == ()


def test_standard_input_is_a_file_named_hyphen(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "egress_compiler", "validate", "-"]
    good = subprocess.run(command, input=GATEWAY, capture_output=True, cwd=tmp_path, env=ENVIRONMENT, check=False)
    assert (good.returncode, good.stdout, good.stderr) == (0, b"Valid: 1 gateway and 0 policies.\n", b"")
    wrong = subprocess.run(command, input=b"kind: [", capture_output=True, cwd=tmp_path, env=ENVIRONMENT, check=False)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith(b"<stdin>:2:1: error:")


@pytest.mark.parametrize("policies", ["-", "/dev/stdin", "/dev/fd/0"])
def test_the_lock_file_of_policies_from_a_pipe_is_in_the_working_directory(policies: str) -> None:
    assert Inputs((Path(policies),), ()).lock_path == Path("egress.lock.json")


def test_policies_as_json_may_be_larger_than_anybody_writes(tmp_path: Path) -> None:
    item = {
        "apiVersion": "egressgateway.spidernet.io/v1beta1",
        "kind": "EgressGateway",
        "metadata": {"name": "g", "annotations": {"note": "x" * files.POLICY_LIMIT}},
        "spec": {"nodeSelector": {"selector": {"matchLabels": {"a": "b"}}}},
    }
    (tmp_path / "export.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [item]}))
    (tmp_path / "hand.yaml").write_text("# " + "x" * files.POLICY_LIMIT)
    found, refused = Collector(), Collector()
    assert len(load_documents([tmp_path / "export.json"], found)) == 1
    assert found.found == ()
    load_documents([tmp_path / "hand.yaml"], refused)
    assert [diagnostic.code for diagnostic in refused.found] == ["too-large"]


def test_pipes_and_sockets_in_a_directory_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.yaml"))
        found = Collector()
        load_documents([tmp_path], found)
    assert sorted(d.message.rpartition("/")[2] for d in found.found) == [
        "pipe.yaml is a pipe, not a file",
        "socket.yaml cannot be read: No such device or address",
    ]


def test_a_directory_is_no_settings_and_no_lock_file(tmp_path: Path) -> None:
    for load in (load_settings, load_lock):
        found = Collector()
        load(tmp_path, found)
        assert "is a directory, not a file" in found.found[0].message


def test_no_lock_file_is_an_empty_lock_wherever_it_would_stand(tmp_path: Path) -> None:
    found = Collector()
    load_lock(tmp_path / "none" / "egress.lock.json", found)
    load_lock(Path("/dev/null/egress.lock.json"), found)
    assert found.found == ()


@pytest.mark.parametrize("size", [99, 100, 101, 5000])
def test_the_limit_is_kept_to_the_byte(size: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * size)
    found = Collector()
    content = read_bytes(tmp_path / "f", found, 100)
    assert (content is not None) == (size <= 100) == (not found.failed)


def test_files_that_hide_their_size_are_read() -> None:
    found = Collector()
    assert (read_bytes(Path("/proc/self/status"), found, files.POLICY_LIMIT) or b"").startswith(b"Name:")
    assert read_bytes(Path("/proc/self/status"), found, 10) is None


JUNK = {
    "brackets": b"[" * 1_000_000,
    "braces": b"{a: " * 300_000,
    "dashes": b"- " * 500_000,
    "quotes": b'"' * 1_000_001,
    "zeros": bytes(1_000_000),
    "noise": bytes(range(256)) * 4000,
    "one line": b"a: " + b"x" * 1_000_000,
    "one line of lists": b"a: [" + b"x," * 300_000 + b"]",
    "many keys": b"".join(b"k%d: v\n" % number for number in range(60_000)),
    "bad items": b"kind: EgressPolicy\nspec:\n  destSubnet:\n" + b"  - 5\n" * 50_000,
    "comments": b"# x\n" * 250_000,
    "documents": b"---\n" * 250_000,
    "objects": b"--- {kind: EgressPolicy}\n" * 20_000,
    "anchors": b"&a " * 300_000,
    "colons": b"a:" * 500_000,
}


@pytest.mark.parametrize("name", JUNK)
def test_a_megabyte_of_junk_takes_seconds_at_most(name: str, tmp_path: Path) -> None:
    from egress_compiler.validate import validate_policies

    (tmp_path / "junk.yaml").write_bytes(JUNK[name])
    began = time.process_time()
    found = Collector()
    validate_policies(load_documents([tmp_path / "junk.yaml"], found), found)
    load_cluster([tmp_path / "junk.yaml"], found)
    load_lock(tmp_path / "junk.yaml", found)
    assert found.failed
    assert len(found.found) <= 10_000
    assert time.process_time() - began < 30


def test_a_hundred_megabytes_are_refused_at_once(tmp_path: Path) -> None:
    with (tmp_path / "huge.yaml").open("wb") as file:
        file.truncate(100 * 1024**2)
    began = time.monotonic()
    for load in (load_documents, load_cluster):
        found = Collector()
        load([tmp_path / "huge.yaml"], found)
        assert [d.code for d in found.found][:1] == ["too-large"]
    assert time.monotonic() - began < 10


def test_the_items_of_a_list_of_policies_need_no_kind_of_their_own(tmp_path: Path) -> None:
    path, found = tmp_path / "policies.yaml", Collector()
    api = "egressgateway.spidernet.io/v1beta1"
    path.write_text(
        f"{{apiVersion: {api}, kind: EgressPolicyList, items: [{{metadata: {{name: a}}}}, {{kind: EgressGateway}}]}}\n"
        "---\n{apiVersion: v1, kind: PodList, items: [{metadata: {name: p}}]}\n",
        encoding="utf-8",
    )
    documents = load_documents([path], found)
    kinds = [(d.data["apiVersion"], d.data["kind"]) for d in documents if isinstance(d.data, dict)]
    assert kinds == [(api, "EgressPolicy"), (api, "EgressGateway")]
    assert [diagnostic.code for diagnostic in found.found] == ["foreign-kind"]

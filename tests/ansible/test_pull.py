"""Pull mode: the units are sound, and the command of the service brings a node to what the repository says."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from egress_compiler.lab import Lab
from tests.ansible.conftest import EXAMPLE, ROOT, Node, compiled
from tests.ansible.test_playbooks import tallies

PULL = ROOT / "examples" / "gitops"
PROGRAM = "/opt/egress-compiler/bin/ansible-pull"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for path in (PULL / "systemd").glob("egress-pull.*"):
        (tmp_path / path.name).write_text(path.read_text().replace(PROGRAM, "/bin/true"))
    units = [str(tmp_path / f"egress-pull.{kind}") for kind in ("service", "timer")]
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def command(repository: str) -> list[str]:
    """The service's command as systemd would run it on worker1."""
    unit = (PULL / "systemd/egress-pull.service").read_text(encoding="utf-8").replace("\\\n", " ")
    line = next(line for line in unit.splitlines() if line.startswith("ExecStart=")).removeprefix("ExecStart=")
    values = {"EGRESS_REPOSITORY": repository, "EGRESS_REVISION": "main", "EGRESS_NODE": "worker1"}
    for name, value in values.items():
        line = line.replace(f"${{{name}}}", value)
    program, *arguments = shlex.split(line)
    assert program == PROGRAM
    return [str(Path(sys.executable).with_name("ansible-pull")), *arguments]


class Repository:
    """A GitOps repository with the lab's bundle."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.url = f"file://{directory}"
        directory.mkdir()
        shutil.copy(PULL / "local.yml", directory)
        shutil.copy(EXAMPLE / "cluster.json", directory)
        self._git("init", "--quiet", "--initial-branch=main")
        self.commit()

    def commit(self) -> None:
        compiled(self._directory / "bundle", cluster=self._directory / "cluster.json")
        self._git("add", "--all", "--force")
        self._git("commit", "--quiet", "-m", "change")

    def take_out(self, pod: str) -> None:
        data: Any = json.loads((self._directory / "cluster.json").read_text(encoding="utf-8"))
        data["items"] = [item for item in data["items"] if item["metadata"]["name"] != pod]
        (self._directory / "cluster.json").write_text(json.dumps(data), encoding="utf-8")

    def _git(self, *arguments: str) -> None:
        config = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        subprocess.run(["git", *config, *arguments], cwd=self._directory, env=environment, check=True)


def pull(lab: Lab, url: str, home: Path) -> "subprocess.CompletedProcess[str]":
    (home / ".ansible.cfg").touch()  # comes before the machine's
    environment = {"HOME": str(home), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    return lab.exec("worker1", command(url), env=environment, check=False, timeout=120)


@pytest.mark.lab
def test_a_node_follows_the_repository_and_heals(lab: Lab, worker: Node, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    changes = []
    element = "nft get element inet egress_gateway governed_pods4 '{ 10.244.3.10 }'"
    element = f"{element} >/dev/null 2>&1 && echo there || echo gone"
    for prepare in ("true", "true", "ip rule delete preference 99"):
        worker.signal_agent("STOP")  # it would have it back by the time of the next pull
        worker.shell(prepare)
        done = pull(lab, repository.url, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        changes.append(tallies(done.stdout)["localhost"])
    assert changes == [1, 0, 1], "applied, nothing to do, healed"
    assert worker.verify() == []
    assert worker.shell(element) == "there\n"

    repository.take_out("web-5d8f7c9b6d-4kq2x")
    repository.commit()
    assert pull(lab, repository.url, tmp_path).returncode == 0
    assert worker.shell(element) == "gone\n"

    before = worker.state()
    assert pull(lab, "file:///nowhere", tmp_path).returncode != 0
    assert before.diff(worker.state()) == ""

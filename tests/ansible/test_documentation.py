"""What the collection says of itself: examples that run, options that exist, a changelog and versions that agree."""

import json
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = ROOT / "collections/ansible_collections/egress/gateway"
MODULES = sorted(path.stem for path in (COLLECTION / "plugins/modules").glob("*.py"))
OTHERS = {"inventory": ["cluster"], "filter": ["batches"]}
TASK_KEYWORDS = {"name", "become", "register", "when", "vars", "delegate_to", "loop", "until", "retries", "delay"}


def ansible(tool: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    command = [str(Path(sys.executable).with_name(tool)), *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)


@cache
def documented(kind: str) -> dict[str, Any]:
    """What ansible-doc makes of all plugins of a kind, by short name."""
    names = MODULES if kind == "module" else OTHERS[kind]
    done = ansible("ansible-doc", "--json", "-t", kind, *(f"egress.gateway.{name}" for name in names))
    assert done.returncode == 0, done.stderr
    return {name.rpartition(".")[2]: entry for name, entry in json.loads(done.stdout).items()}


def tasks(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(documented("module")[name]["examples"])
    return found


def test_every_plugin_is_here() -> None:
    found = {path.parent.name: path.stem for path in (COLLECTION / "plugins").glob("*/*.py")}
    assert set(found) == {"modules", "action", "module_utils", "plugin_utils", *OTHERS}
    for kind, names in OTHERS.items():
        assert sorted(path.stem for path in (COLLECTION / "plugins" / kind).glob("*.py")) == names


@pytest.mark.parametrize(
    ("kind", "name"), [*(("module", n) for n in MODULES), ("inventory", "cluster"), ("filter", "batches")]
)
def test_nothing_is_left_undocumented(kind: str, name: str) -> None:
    entry = documented(kind)[name]
    for option, about in entry["doc"].get("options", {}).items():
        assert about.get("description"), option
    assert entry["doc"]["description"]
    assert entry["examples"]
    assert kind == "inventory" or entry["return"]


@pytest.mark.parametrize("name", MODULES)
def test_examples_use_options_that_exist(name: str) -> None:
    options = set(documented("module")[name]["doc"].get("options", {}))
    used = [arguments for task in tasks(name) for key, arguments in task.items() if key == f"egress.gateway.{name}"]
    assert used, "at least one example is of the module itself"
    for arguments in used:
        assert set(arguments or {}) <= options


def test_examples_are_plays_that_ansible_reads(tmp_path: Path) -> None:
    plays = [{"hosts": "all", "gather_facts": False, "tasks": tasks(name)} for name in MODULES]
    plays += yaml.safe_load(documented("filter")["batches"]["examples"])
    (tmp_path / "examples.yml").write_text(yaml.safe_dump(plays), encoding="utf-8")
    inventory = str(ROOT / "inventory/cluster.example.yml")
    done = ansible("ansible-playbook", "--syntax-check", "-i", inventory, str(tmp_path / "examples.yml"))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_examples_are_inventories_that_ansible_reads(tmp_path: Path) -> None:
    gitops = ROOT / "examples/gitops"
    for name in ("bundle", "cluster.json", "policies"):
        (tmp_path / name).symlink_to(gitops / name)
    for document in yaml.safe_load_all(documented("inventory")["cluster"]["examples"]):
        (tmp_path / "nodes.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
        done = ansible("ansible-inventory", "-i", str(tmp_path / "nodes.yml"), "--graph")
        assert done.returncode == 0
        assert "WARNING" not in done.stderr, done.stderr
        assert "gate-a" in done.stdout


def test_playbooks_of_the_repository_are_those_of_the_collection() -> None:
    for path in sorted((COLLECTION / "playbooks").glob("*.yml")):
        (play,) = yaml.safe_load((ROOT / "playbooks" / path.name).read_text(encoding="utf-8"))
        assert play["ansible.builtin.import_playbook"] == f"egress.gateway.{path.stem}"
    assert {p.name for p in (ROOT / "playbooks").iterdir()} == {p.name for p in (COLLECTION / "playbooks").iterdir()}


def test_versions_and_changelog_agree() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert yaml.safe_load((COLLECTION / "galaxy.yml").read_text(encoding="utf-8"))["version"] == version
    assert f"egress-compiler=={version}" in (COLLECTION / "meta/requirements.txt").read_text(encoding="utf-8")
    environment = (ROOT / "examples/awx/execution-environment.yml").read_text(encoding="utf-8")
    assert f"egress-gateway-{version}.tar.gz" in environment
    assert f"egress_compiler-{version}-py3-none-any.whl" in environment
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = yaml.safe_load((COLLECTION / "changelogs/changelog.yaml").read_text(encoding="utf-8"))["releases"]
    assert version in releases
    told = [module["name"] for release in releases.values() for module in release.get("modules", ())]
    assert sorted(told) == MODULES, "antsibull-changelog release writes them"


def test_sanity_ignores_nothing() -> None:
    assert [path.read_text() for path in (COLLECTION / "tests/sanity").iterdir()] == [""]


PAGES = [
    ROOT / "README.md",
    COLLECTION / "README.md",
    ROOT / "examples/gitops/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_name_what_there_is(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    playbooks = {path.stem: path.read_text(encoding="utf-8") for path in (COLLECTION / "playbooks").glob("*.yml")}
    assert set(re.findall(r"egress\.gateway\.([a-z_]+)", text)) <= {*playbooks, *MODULES, "cluster", "batches"}
    for file in re.findall(r"playbooks/([a-z_]+)\.yml", text):
        assert file in playbooks
    for variable in re.findall(r"-e '?\{?\"?(egress_[a-z_]+)", text):
        assert any(f"# {variable} " in playbook for playbook in playbooks.values()), variable
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target

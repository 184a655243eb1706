# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Zipapps that outlive the task have all the modules that they import."""

from __future__ import annotations

import ast
import io
import zipfile
from pathlib import Path

import pytest

from ansible_collections.egress.gateway.plugins.module_utils import zipapp

PACKAGE = "ansible_collections.egress.gateway.plugins.module_utils"
ROOT = Path(zipapp.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_are_those_that_python_finds(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    package = ".".join(path.parent.relative_to(ROOT).parts)
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.level or (str(node.module) + ".").startswith(PACKAGE + ".")):
            module = ".".join(filter(None, [package, node.module])) if node.level else node.module[len(PACKAGE) + 1 :]
            if ROOT.joinpath(*module.split(".")).is_dir():
                found |= {".".join(filter(None, [module, alias.name])) for alias in node.names}
            else:
                found.add(module)
    assert zipapp.imports(source, package) == found


@pytest.mark.parametrize("entry", ["agent.main", "undo.rollback"])
def test_everything_that_is_imported_is_there_and_the_bytes_are_the_same(entry: str) -> None:
    content = zipapp.zipapp(entry)
    zipapp.zipapp.cache_clear()
    assert zipapp.zipapp(entry) == content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start = PACKAGE.replace(".", "/") + "/"
        there = {name[len(start) : -len(".py")].replace("/", ".") for name in archive.namelist()}
        wanted = {
            name
            for n in archive.namelist()
            for name in zipapp.imports(archive.read(n).decode(), n[len(start) :].rpartition("/")[0].replace("/", "."))
        }
    assert entry in there
    assert wanted <= there

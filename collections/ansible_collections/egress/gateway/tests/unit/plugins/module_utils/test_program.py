# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Programs that outlive the task have all the modules that they import."""

from __future__ import annotations

import ast
import io
import zipfile
from pathlib import Path

import pytest

from ansible_collections.egress.gateway.plugins.module_utils import program

PACKAGE = "ansible_collections.egress.gateway.plugins.module_utils"
ROOT = Path(program.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_are_those_that_python_finds(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE + "."):
            found.add(str(node.module)[len(PACKAGE) + 1 :])
    assert program.imports(source) == found


@pytest.mark.parametrize("entry", ["agent.main", "rollback"])
def test_everything_that_is_imported_is_there_and_the_bytes_are_the_same(entry: str) -> None:
    content = program.program(entry)
    program.program.cache_clear()
    assert program.program(entry) == content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start = PACKAGE.replace(".", "/") + "/"
        there = {name[len(start) : -len(".py")].replace("/", ".") for name in archive.namelist()}
        wanted = {name for n in archive.namelist() for name in program.imports(archive.read(n).decode())}
    assert entry in there
    assert wanted <= there

# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Code of this collection as a file of its own: Ansible's copy is gone when the task ends."""

from __future__ import annotations

import importlib
import io
import re
import zipfile
from functools import cache

_PACKAGE = "ansible_collections.egress.gateway.plugins.module_utils"
_IMPORT = re.compile(r"^\s*from (%s(?:\.[\w.]+)?|\.[\w.]*) import ([^\n]*)" % re.escape(_PACKAGE), re.MULTILINE)


@cache
def zipapp(entry: str) -> bytes:
    """One file that Python can run: ``main`` of the module ``entry``, and all that it imports from here.

    The same bytes whenever this collection makes it.
    """
    files = {"__main__.py": "from %s.%s import main\n\nmain()\n" % (_PACKAGE, entry)}
    levels = _PACKAGE.split(".")
    waiting, seen = [entry], {entry}
    while waiting:
        name = waiting.pop()
        text = source_of(name)
        path = [*levels, *name.split(".")]
        files["/".join(path) + ".py"] = text
        files.update({"/".join([*path[:depth], "__init__.py"]): "" for depth in range(1, len(path))})
        found = imports(text, name.rpartition(".")[0]) - seen
        seen |= found
        waiting += found
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for path, text in sorted(files.items()):
            file.writestr(zipfile.ZipInfo(path), text)
    return archive.getvalue()


def imports(source: str, package: str = "") -> set[str]:
    """The modules of this package that a source imports as we do: whole ones on one line, or names of one.

    ``package`` is that of the source, whose modules it may name by a dot.
    """
    found = set()
    for origin, names in _IMPORT.findall(source):
        here = package + origin if origin[1:] else package
        module = here if origin.startswith(".") else origin[len(_PACKAGE) + 1 :]
        if _is_package(module):
            found |= {(module + "." if module else "") + name.split(" ")[0] for name in names.split(", ")}
        else:
            found.add(module)
    return found


def _is_package(module: str) -> bool:
    """Whether it is a directory of modules, or this package itself, rather than a module with names."""
    return not module or hasattr(importlib.import_module("%s.%s" % (_PACKAGE, module)), "__path__")


def source_of(module: str) -> str:
    """The text of a module of this package, wherever it was imported from."""
    name = "%s.%s" % (_PACKAGE, module)
    loader = importlib.import_module(name).__loader__
    text: object = loader.get_source(name)  # type: ignore[union-attr]  # files and archives, which Ansible sends, have it
    return text.decode() if isinstance(text, bytes) else str(text)  # bytes from Ansible's own loader

# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Lists of CNI plugins as text: which one a container runtime takes, and our plugin in it.

A list is somebody else's file.  Our entry goes in behind the last plugin and comes out again without any other byte
being touched.  A file of one plugin alone, which is no list, gets one of ours beside it that sorts before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.gate.plugin import NAME, VERSIONS

LIST = ".conflist"
ENDINGS = (LIST, ".conf", ".json")
"""Of the files that runtimes read."""
_OURS = "-%s%s" % (NAME, LIST)
"""The end of our own lists' names: a hyphen sorts before the dot of the file that they are made of."""
_DECODER = json.JSONDecoder()
_SPACE = " \t\n\r"


@dataclass(frozen=True)
class Plugins:
    """The plugins of a list, with where each begins and ends in the text, and where their array's bracket is."""

    version: str
    values: tuple[Mapping[str, Any], ...]
    spans: tuple[tuple[int, int], ...]
    bracket: int


def is_ours(name: str) -> bool:
    """Whether a list is made by us, of a file of one plugin."""
    return name.endswith(_OURS)


def beside(name: str) -> str:
    """The name of our list for a file of one plugin."""
    return PurePath(name).stem + _OURS


def is_read(name: str) -> bool:
    """By a runtime, whether or not it makes sense."""
    return PurePath(name).suffix in ENDINGS


def active(texts: Mapping[str, str]) -> str | None:
    """The file that a runtime takes: the first in the order of names that makes sense, ours left out."""
    return next((name for name in sorted(texts) if not is_ours(name) and _makes_sense(name, texts[name])), None)


def supports(name: str, text: str) -> bool:
    """Whether our plugin can stand in it: a list says its version, and before 0.3.0 there were no chains."""
    version = _plugins(text).version if name.endswith(LIST) else json.loads(text).get("cniVersion")
    return version in VERSIONS


def entries(text: str) -> list[str]:
    """Ours in a list, each in one spelling; none where it is no list."""
    plugins = _parsed(text)
    return [spelled(value) for value in plugins.values if _is_gate(value)] if plugins else []


def with_entry(text: str, entry: Mapping[str, Any]) -> str:
    """The list with our entry behind the last plugin; where it has one already, that is replaced."""
    text = without_entry(text)
    plugins = _plugins(text)
    start, end = plugins.spans[-1]
    before = plugins.spans[-2][1] if len(plugins.spans) > 1 else plugins.bracket + 1
    gap = text[before:start].rpartition(",")[2]
    return text[:end] + "," + (gap or " ") + spelled(entry) + text[end:]


def without_entry(text: str) -> str:
    """The list without our entries, and otherwise as it is."""
    while True:
        plugins = _parsed(text)
        place = next((i for i, value in enumerate(plugins.values) if _is_gate(value)), None) if plugins else None
        if plugins is None or place is None:
            return text
        start, end = plugins.spans[place]
        if place > 0:
            text = text[: plugins.spans[place - 1][1]] + text[end:]
        elif len(plugins.spans) > 1:
            text = text[:start] + text[plugins.spans[1][0] :]
        else:
            text = text[:start] + text[end:]


def made_list(text: str, entry: Mapping[str, Any]) -> str:
    """A list of a file's only plugin and ours; the runtime makes the same of it, but for ours."""
    plugin = json.loads(text)
    found = {"cniVersion": plugin["cniVersion"], "name": plugin.get("name", ""), "plugins": [plugin, entry]}
    return json.dumps(found, indent=2) + "\n"


def spelled(entry: Mapping[str, Any]) -> str:
    """The same text for the same entry."""
    return json.dumps(entry, sort_keys=True)


def _makes_sense(name: str, text: str) -> bool:
    if name.endswith(LIST):
        plugins = _parsed(text)
        return plugins is not None and any(not _is_gate(value) for value in plugins.values)
    try:
        plugin = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(plugin, dict) and bool(plugin.get("type")) and isinstance(plugin["type"], str)


def _is_gate(plugin: Mapping[str, Any]) -> bool:
    return plugin.get("type") == NAME


def _parsed(text: str) -> Plugins | None:
    try:
        return _plugins(text)
    except (ValueError, RecursionError):
        return None


def _plugins(text: str) -> Plugins:
    """ValueError where the text is no list of plugins."""
    json.loads(text)  # what follows is content with less
    found: dict[str, Any] = {}
    spans: tuple[tuple[int, int], ...] = ()
    bracket = 0
    place = _after(text, 0, "{")
    while text[place : place + 1] != "}":
        key, place = _DECODER.raw_decode(text, place)
        place = start = _after(text, place, ":")
        found[key], place = _DECODER.raw_decode(text, place)
        if key == "plugins" and isinstance(found[key], list):
            spans, bracket = tuple(_spans(text, start)), start
        place = _comma(text, place, "}")
    if text[place + 1 :].strip(_SPACE):
        raise ValueError("something stands behind the list")
    values = found.get("plugins")
    if not isinstance(values, list) or not values or not all(isinstance(one, dict) for one in values):
        raise ValueError("it has no plugins")
    return Plugins(str(found.get("cniVersion", "")), tuple(values), spans, bracket)


def _spans(text: str, bracket: int) -> Iterable[tuple[int, int]]:
    place = _after(text, bracket, "[")
    while text[place : place + 1] != "]":
        start = place
        _value, end = _DECODER.raw_decode(text, place)
        yield start, end
        place = _comma(text, end, "]")


def _after(text: str, place: int, sign: str) -> int:
    """The place of what follows a sign, and the space around it."""
    place = _skip(text, place)
    if text[place : place + 1] != sign:
        raise ValueError("no %s at %d" % (sign, place))
    return _skip(text, place + 1)


def _comma(text: str, place: int, end: str) -> int:
    place = _skip(text, place)
    return place if text[place : place + 1] == end else _after(text, place, ",")


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in _SPACE:
        place += 1
    return place

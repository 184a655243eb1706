# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""What is kept of pods and namespaces."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.follow.errors import FollowError, Malformed, Unreachable
from ansible_collections.egress.gateway.plugins.module_utils.follow.json_list import ListReader
from ansible_collections.egress.gateway.plugins.module_utils.follow.objects import BadObject, metadata
from ansible_collections.egress.gateway.plugins.module_utils.follow.pods import (
    NAMESPACES,
    Namespace,
    Pod,
    address_of,
    pods_of,
)

PODS = pods_of("n1")


def raw(**more: Any) -> dict[str, Any]:
    meta = {"namespace": "shop", "name": "web-0", "uid": "u-1", "resourceVersion": "7", **more.pop("metadata", {})}
    return {"metadata": meta, **more}


def pod(**more: Any) -> Pod:
    value = raw(**more)
    return PODS.decode(value, metadata(value, PODS))


def test_a_pod() -> None:
    status = {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "FD00:0::1"}]}
    one = pod(metadata={"labels": {"app": "web"}}, spec={"nodeName": "n1"}, status=status)
    wanted = Pod("shop", "web-0", "u-1", {"app": "web"}, ("10.0.0.1", "fd00::1"), False, False, False, 0, "u-1")
    assert one == wanted
    assert one.sources == one.addresses
    assert one.key == ("shop", "web-0")


ADDRESSES = [
    ({}, (), 0),
    ({"podIPs": None, "podIP": "10.0.0.1"}, ("10.0.0.1",), 0),
    ({"podIPs": [], "podIP": "10.0.0.1"}, ("10.0.0.1",), 0),
    ({"podIPs": [{}], "podIP": "10.0.0.1"}, ("10.0.0.1",), 0),
    ({"podIPs": [{"ip": "10.0.0.2"}], "podIP": "10.0.0.1"}, ("10.0.0.2",), 0),
    ({"podIPs": [{"ip": "::1"}, {"ip": "0::1"}]}, ("::1",), 0),
    ({"podIPs": [{"ip": "10.0.0.01"}, {"ip": "10.0.0.1"}]}, ("10.0.0.1",), 1),
    ({"podIPs": [{"ip": "x"}], "podIP": "10.0.0.1"}, (), 1),
]


@pytest.mark.parametrize(("status", "addresses", "bad"), ADDRESSES)
def test_addresses(status: dict[str, Any], addresses: tuple[str, ...], bad: int) -> None:
    one = pod(status=status)
    assert (one.addresses, one.bad_addresses) == (addresses, bad)


@pytest.mark.parametrize(
    "text", ["", "10.0.0", "10.0.0.1/32", "fe80::1%eth0", "::ffff:10.0.0.1", "10.0.0.1\n", "010.0.0.1"]
)
def test_what_is_no_address(text: str) -> None:
    assert address_of(text) is None


@pytest.mark.parametrize(
    ("more", "host_network", "finished", "leaving", "sources"),
    [
        ({"spec": {"hostNetwork": True}}, True, False, False, ()),
        ({"status": {"phase": "Succeeded"}}, False, True, False, ()),
        ({"status": {"phase": "Failed"}}, False, True, False, ()),
        ({"status": {"phase": "Pending"}}, False, False, False, ("10.0.0.1",)),
        ({"status": {"phase": "Unknown"}}, False, False, True, ("10.0.0.1",)),
        ({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, False, False, True, ("10.0.0.1",)),
    ],
)
def test_which_pods_are_sources(
    more: dict[str, Any], host_network: bool, finished: bool, leaving: bool, sources: tuple[str, ...]
) -> None:
    one = pod(**{**more, "status": {"podIP": "10.0.0.1", **more.get("status", {})}})
    assert (one.host_network, one.finished, one.leaving, one.sources) == (host_network, finished, leaving, sources)


def test_a_namespace_has_its_name_among_its_labels() -> None:
    value = {"metadata": {"name": "shop", "uid": "u", "resourceVersion": "1", "labels": {"tier": "a"}}}
    one = NAMESPACES.decode(value, metadata(value, NAMESPACES))
    assert one == Namespace("shop", "u", {"kubernetes.io/metadata.name": "shop", "tier": "a"})


BAD = [
    {"metadata": None},
    {"metadata": {"name": "../x"}},
    {"metadata": {"name": "a" * 254}},
    {"metadata": {"namespace": "a.b"}},
    {"metadata": {"namespace": 5}},
    {"metadata": {"uid": ""}},
    {"metadata": {"uid": "a\nb"}},
    {"metadata": {"resourceVersion": 5}},
    {"metadata": {"labels": []}},
    {"metadata": {"labels": {"a": None}}},
    {"spec": []},
    {"spec": {"hostNetwork": "yes"}},
    {"status": {"phase": {}}},
    {"status": {"podIPs": {}}},
    {"status": {"podIPs": ["10.0.0.1"]}},
    {"status": {"podIPs": [{"ip": 5}]}},
    {"status": {"podIP": [1]}},
]


@pytest.mark.parametrize("more", BAD)
def test_bad_objects_are_told_and_nothing_else(more: dict[str, Any]) -> None:
    with pytest.raises(BadObject):
        pod(**more) if more.get("metadata", {}) is not None else metadata({"metadata": 5}, PODS)


def damaged(value: Any, dice: random.Random) -> Any:
    """With one part replaced."""
    odd = (None, 0, -1.5, True, "", "x", "\ud800", [], {}, [[]], {"ip": {}}, "1" * 100)
    if isinstance(value, dict) and value and dice.random() < 0.8:
        key = dice.choice(sorted(value))
        return {**value, key: damaged(value[key], dice)}
    if isinstance(value, list) and value and dice.random() < 0.8:
        return [damaged(value[0], dice), *value[1:]]
    return dice.choice(odd)


@pytest.mark.parametrize("seed", range(200))
def test_objects_of_any_shape(seed: int) -> None:
    status = {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}
    value = raw(metadata={"labels": {"a": "b"}}, spec={"hostNetwork": False}, status=status)
    one = damaged(value, random.Random(seed))
    with contextlib.suppress(BadObject):
        assert isinstance(PODS.decode(one, metadata(one, PODS)), Pod)


# ------------------------------------------------------------------------------------------------------------- lists


def reading(data: bytes, size: int) -> Callable[[int], bytes]:
    rest = [data]

    def read(limit: int) -> bytes:
        part, rest[0] = rest[0][: min(size, limit)], rest[0][min(size, limit) :]
        return part

    return read


LIST = {"items": [{"a": "\u00fc\U0001f600"}, {}, 5, "x" * 500, [1, [2]]], "kind": "L", "metadata": {"n": 1}, "z": 12}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_in_pieces(size: int, indent: int | None) -> None:
    reader = ListReader(reading(json.dumps(LIST, indent=indent, ensure_ascii=False).encode(), size))
    assert list(reader.items()) == LIST["items"]
    assert reader.fields == {"kind": "L", "metadata": {"n": 1}, "z": 12}


@pytest.mark.parametrize("text", ['{"items": null, "kind": "L"}', '{"kind": "L"}', "{}", '{"items": []}'])
def test_lists_without_items(text: str) -> None:
    reader = ListReader(reading(text.encode(), 5))
    assert list(reader.items()) == []
    assert reader.has_items == ("[]" in text)


def test_every_damage_is_a_malformed_list() -> None:
    text = json.dumps(LIST).encode()
    for index in range(len(text)):
        for damage in (
            text[:index],
            text[:index] + b"\xff" + text[index + 1 :],
            text[:index] + b"[" + text[index + 1 :],
        ):
            with contextlib.suppress(Malformed, Unreachable):
                list(ListReader(reading(damage, 64)).items())
    for text in (b"[]", b"{}{}", b'{"items": [' + b"[" * 100_000, b"", b"{5: 5}", b'{"a": ' + b"1" * 5000 + b"}"):
        with pytest.raises(FollowError):
            list(ListReader(reading(text, 4096)).items())


def test_an_endless_item_is_given_up() -> None:
    started = iter([b'{"items": ["'])
    with pytest.raises(Malformed, match="an item has more than"):
        list(ListReader(lambda limit: next(started, b"x" * limit)).items())

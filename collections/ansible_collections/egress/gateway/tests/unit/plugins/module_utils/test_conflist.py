# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Lists of CNI plugins: which one counts, and our entry in and out without another byte."""

from __future__ import annotations

import json

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.gate import conflist

ENTRY = {"type": "egress-gate", "timeoutSeconds": 10}
CALICO = """{
  "name": "k8s-pod-network",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "calico",
      "ipam": {"type": "calico-ipam", "note": "]},"}
    },
    {"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}
  ]
}
"""
TEXTS = {
    "calico": CALICO,
    "one line": '{"cniVersion":"1.0.0","name":"a","plugins":[{"type":"ptp"}]}',
    "plugins first": '{"plugins" : [ {"type":"a"} , {"type":"b"} ] , "cniVersion":"1.1.0","name":"a"}',
    "tabs": '{\n\t"cniVersion": "0.4.0",\n\t"plugins": [\n\t\t{\n\t\t\t"type": "bridge"\n\t\t}\n\t],\n\t"name": "x"\n}',
    "carriage returns": CALICO.replace("\n", "\r\n"),
    "other lists": '{"x":[{"type":"egress-gate"}],"plugins":[{"type":"a","b":[{"type":"x"}]}],"cniVersion":"1.0.0"}',
    "odd characters": '{"cniVersion":"1.0.0","name":"ü\\u0022]","plugins":[{"type":"a","b":"\\\\"}]}  \n',
}
NO_LISTS = (
    "",
    "[]",
    "{}",
    "null",
    "nonsense",
    '{"plugins": []}',
    '{"plugins": {}}',
    '{"plugins": [5]}',
    '{"plugins": [{"type":"a"},]}',
    '{"plugins": [{"type":"a"}]} x',
    '{"plugins": [{"type":"a"}]',
    "[" * 100_000,
    '{"plugins":' + "[" * 100_000,
)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_the_entry_goes_in_and_out(text):
    there = conflist.with_entry(text, ENTRY)
    before, after = json.loads(text), json.loads(there)
    assert after == {**before, "plugins": [*before["plugins"], ENTRY]}
    assert conflist.entries(there) == ['{"timeoutSeconds": 10, "type": "egress-gate"}']
    assert conflist.entries(text) == []
    assert conflist.without_entry(there) == text
    assert conflist.with_entry(there, ENTRY) == there
    assert conflist.without_entry(text) == text


def test_the_entry_is_written_as_the_others_are():
    assert conflist.with_entry(CALICO, ENTRY) == CALICO.replace(
        "true}}\n  ]", 'true}},\n    {"timeoutSeconds": 10, "type": "egress-gate"}\n  ]'
    )


def test_another_entry_of_ours_is_replaced():
    there = conflist.with_entry(CALICO, {"type": "egress-gate", "timeoutSeconds": 3})
    assert conflist.with_entry(there, ENTRY) == conflist.with_entry(CALICO, ENTRY)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_entries_are_taken_out_wherever_they_are(place):
    plugins = [{"type": "ptp"}, {"type": "portmap"}]
    plugins.insert(place, {"type": "egress-gate"})
    plugins.append({"type": "egress-gate"})
    text = json.dumps({"plugins": plugins})
    assert len(conflist.entries(text)) == 2
    assert json.loads(conflist.without_entry(text))["plugins"] == [{"type": "ptp"}, {"type": "portmap"}]


@pytest.mark.parametrize("text", NO_LISTS, ids=lambda text: text[:40])
def test_what_is_no_list_is_left_alone(text):
    assert conflist.entries(text) == []
    assert conflist.without_entry(text) == text
    assert conflist.active({"10-a.conflist": text}) is None


PTP = '{"cniVersion":"1.0.0","name":"a","type":"ptp"}'


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        ({}, None),
        ({"10-b.conflist": CALICO, "05-a.conflist": CALICO}, "05-a.conflist"),
        ({"10-b.conflist": CALICO, "05-a.conf": PTP}, "05-a.conf"),
        ({"10-b.conflist": CALICO, "05-a.json": PTP}, "05-a.json"),
        ({"10-b.conflist": CALICO, "05-a.conflist": "{"}, "10-b.conflist"),
        ({"10-b.conflist": CALICO, "05-a.conf": '{"name":"x"}'}, "10-b.conflist"),
        ({"10-b.conflist": CALICO, "05-a.conf": CALICO}, "10-b.conflist"),
        ({"10-b.conflist": CALICO, "00-multus-egress-gate.conflist": CALICO}, "10-b.conflist"),
        ({"10-b.conflist": '{"plugins":[{"type":"egress-gate"}]}'}, None),
    ],
)
def test_which_list_a_runtime_takes(texts, name):
    assert conflist.active(texts) == name


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("10-a.conflist", True),
        ("a.conf", True),
        ("a.json", True),
        ("calico-kubeconfig", False),
        ("a.conflist.bak", False),
    ],
)
def test_what_a_runtime_reads(name, read):
    assert conflist.is_read(name) is read


@pytest.mark.parametrize("name", ["00-multus.conf", "10-a.json", "x.conf"])
def test_our_list_sorts_right_before_the_file_that_it_is_made_of(name):
    ours = conflist.beside(name)
    assert conflist.is_ours(ours)
    assert not conflist.is_ours(name)
    assert sorted([name, ours]) == [ours, name]
    assert ours.startswith(name.split(".")[0])


def test_a_list_is_made_of_one_plugin():
    made = json.loads(conflist.made_list(PTP, ENTRY))
    assert made == {"cniVersion": "1.0.0", "name": "a", "plugins": [json.loads(PTP), ENTRY]}


@pytest.mark.parametrize(
    ("name", "text", "supported"),
    [
        ("a.conflist", CALICO, True),
        ("a.conflist", CALICO.replace("0.3.1", "0.2.0"), False),
        ("a.conflist", CALICO.replace('"cniVersion": "0.3.1",', ""), False),
        ("a.conf", PTP, True),
        ("a.conf", '{"type":"ptp"}', False),
        ("a.conf", '{"type":"ptp","cniVersion":["1.0.0"]}', False),
    ],
)
def test_where_our_plugin_can_stand(name, text, supported):
    assert conflist.supports(name, text) is supported

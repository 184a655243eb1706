# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""What of an iptables ruleset refuses everything, and where an accept has to stand."""

from __future__ import annotations

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.firewall import iptables, nft_chains
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import Finished

OURS = "-A FORWARD -m connmark --mark 0x26000000/0xf6000000 -m comment --comment egress-gateway -j ACCEPT"
KUBE = ":KUBE-FORWARD - [0:0]\n-A FORWARD -j KUBE-FORWARD\n-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n"
UFW = ":ufw-reject-forward - [0:0]\n:ufw-inner - [0:0]\n-A FORWARD -j ufw-reject-forward\n"


@pytest.mark.parametrize(
    ("policy", "rules", "refuses", "last", "ahead"),
    [
        ("ACCEPT", "", False, None, []),
        ("DROP", "", True, None, []),
        ("ACCEPT", KUBE, False, None, []),
        ("DROP", KUBE + OURS, True, None, [True]),
        ("ACCEPT", "-A FORWARD -j REJECT --reject-with icmp-host-prohibited\n" + OURS, True, 1, [False]),
        ("ACCEPT", OURS + '\n-A FORWARD -m comment --comment "all else" -j DROP\n', True, 2, [True]),
        ("ACCEPT", UFW + "-A ufw-reject-forward -j ufw-inner\n-A ufw-inner -j REJECT", True, 1, []),
        ("ACCEPT", UFW + "-A ufw-reject-forward -j RETURN\n-A ufw-reject-forward -j DROP", False, None, []),
        ("ACCEPT", UFW + "-A ufw-reject-forward -j ufw-reject-forward", False, None, []),
        ("ACCEPT", "-A FORWARD -j LOG --log-prefix DROP\n-A FORWARD -i eth1 -j DROP", False, None, []),
        ("ACCEPT", "[3:180] -A FORWARD -g DROPS\n:DROPS - [0:0]\n-A DROPS -j DROP", True, 1, []),
    ],
)
def test_where_a_chain_refuses_everything(
    monkeypatch: pytest.MonkeyPatch, policy: str, rules: str, refuses: bool, last: int | None, ahead: list[bool]
) -> None:
    policies = f":INPUT ACCEPT [0:0]\n:FORWARD {policy} [7:420]\n:OUTPUT ACCEPT [0:0]\n"
    text = f"# by hand\n*filter\n{policies}{rules}\nCOMMIT\n"
    monkeypatch.setattr(iptables, "find", lambda tool: tool)
    monkeypatch.setattr(iptables, "run", lambda argv, check=True: Finished(0, text, ""))
    chains = iptables.chains("nft", 4)
    assert chains is not None
    (chain,) = [c for c in chains if c.hook == "forward"]
    assert (chain.where, chain.refuses, chain.last) == ("iptables-nft FORWARD", refuses, last)
    assert [found.ahead for found in chain.ours] == ahead


def test_a_table_that_iptables_cannot_read_is_left_to_nft(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "# Table `filter' is incompatible, use 'nft' tool.\n"
    monkeypatch.setattr(iptables, "find", lambda tool: tool)
    monkeypatch.setattr(iptables, "run", lambda argv, check=True: Finished(0, text, ""))
    assert iptables.chains("nft", 4) is None


def test_nft_says_the_same_in_several_ways() -> None:
    mark = {"ct": {"key": "mark"}}
    masked = {"match": {"op": "==", "left": {"&": [mark, 0xF6000000]}, "right": 0x26000000}}
    number = {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": 112}}
    name = {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "vrrp"}}
    assert nft_chains.text([number]) == nft_chains.text([name])
    assert nft_chains.text([masked]) != nft_chains.text([number])

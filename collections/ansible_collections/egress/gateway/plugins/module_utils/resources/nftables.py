# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Our nftables table, compared object by object with what the kernel makes of the wanted text.

The kernel prints rules in a form of its own. So the wanted text is loaded into a network namespace that lives as
long as one command, listed there, and that listing is compared with the real one: exact to one element.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest

from ansible_collections.egress.gateway.plugins.module_utils.contract.names import NFT_TABLE
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import CommandFailed, NodeError, run
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel, parse_table
from ansible_collections.egress.gateway.plugins.module_utils.resources import nftables_delta
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.nftables_listing import (
    TABLE,
    TABLE_KEY,
    Entries,
    Stretch,
    items,
    rule_texts,
    rule_value,
    stretches,
    summary,
    unequal,
)
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import (
    Action,
    Change,
    Item,
    Items,
    Resource,
    difference,
)

_LOAD = "nft -f - && nft -j -s list table inet " + NFT_TABLE
_LOAD_TEXT = "nft -f - && nft -s -a list table inet " + NFT_TABLE


class Table(Resource):
    """Changed only where the kernel holds something else: by a delta where that is small, else replaced as a whole.

    Both are one transaction, so that no packet ever meets a half of it. A delta that did not lead there, for whatever
    reason, is followed by the whole.
    """

    atomic = True
    attempts = 2
    closes = True

    def __init__(self, kernel: Kernel, ruleset: str | None, origins: Mapping[str, str]) -> None:
        self._kernel = kernel
        self._ruleset = ruleset
        self._origins = origins
        self._tried: str | None = None
        """The delta that was tried last; the same one again would lead nowhere."""

    def forget(self) -> None:
        self._kernel.forget()

    def desired(self) -> Items:
        return items(self._wanted(), self._origins)

    def actual(self) -> Items:
        return items(self._kernel.table(), {})

    def difference(self) -> tuple[Change, ...]:
        """One change for a table that is not there or not wanted; else one for each object."""
        wanted, found = self._wanted(), self._kernel.table()
        if not wanted or not found:
            whole = [{TABLE_KEY: Item(summary(entries))} if entries else {} for entries in (wanted, found)]
            return difference(whole[0], whole[1])
        ours, theirs = unequal(wanted, found)
        changes = difference(items(ours, self._origins), items(theirs, {}))
        differing = list(stretches(wanted, found))
        if not differing:
            return changes
        wanted_text, found_text = rule_texts(self._wanted_text()), rule_texts(self._kernel.table_text())
        return (*changes, *(c for s in differing for c in _rule_changes(s, wanted_text, found_text, self._origins)))

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        try:
            run(["nft", "-f", "-"], self.script())
        except CommandFailed as error:
            return error
        return None

    def script(self) -> str:
        """What nft is to read to make the kernel's table the wanted one."""
        found = self._kernel.table()
        if self._ruleset is None:
            return "delete %s\n" % TABLE
        if not found or self._tried is not None:
            return self._ruleset
        self._tried = nftables_delta.script(self._wanted(), self._wanted_text, found)
        return self._ruleset if self._tried is None else self._tried

    def _wanted(self) -> Entries:
        return _listing(self._ruleset) if self._ruleset else ()

    def _wanted_text(self) -> str:
        return _isolated(_LOAD_TEXT, self._ruleset) if self._ruleset else ""


def _rule_changes(
    stretch: Stretch, wanted_text: Mapping[int, str], found_text: Mapping[int, str], origins: Mapping[str, str]
) -> Iterator[Change]:
    """One change for each pair of a rule that is there and one that is wanted in its place, and for what is left."""
    for have, want in zip_longest(stretch.there, stretch.wanted):
        after = wanted_text.get(want[1]["handle"], rule_value(want[1])) if want else None
        before = found_text.get(have[1]["handle"], rule_value(have[1])) if have else None
        number = (want or have)[0]
        origin = str(want[1].get("comment") or origins.get(stretch.chain, "")) if want else "not in the plan"
        action: Action = "create" if have is None else "remove" if want is None else "modify"
        yield Change(Key.of("nft rule", number, stretch.chain), action, before, after, origin)


@lru_cache(maxsize=2)
def _listing(ruleset: str) -> Entries:
    """What nft makes of a ruleset; a run asks for the same one many times."""
    return parse_table(_isolated(_LOAD, ruleset))


@lru_cache(maxsize=2)
def _isolated(script: str, ruleset: str) -> str:
    """Runs one of the two constant scripts above in a network namespace of its own, with the ruleset as its input."""
    argv = ["unshare", "--net", "sh", "-c", script]
    try:
        return run(argv, ruleset).stdout
    except CommandFailed as error:
        raise NodeError("nft does not accept nftables.nft: %s" % error) from error

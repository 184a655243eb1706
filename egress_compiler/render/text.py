"""The template environment, for files whose text is the point: configurations of daemons, and scripts."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from egress_compiler.ruleset.words import comment

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = re.compile("\0([0-9]+)\0")
"""No text of a user's has such characters: they go through ``comment``."""


class Rendered(NamedTuple):
    """A file, and by what it is for the number of a line, from 1, that the template marked with ``here``."""

    text: str
    places: Mapping[tuple[Hashable, ...], int]


@cache
def environment() -> Environment:
    """An unknown name in a template is an error, not an empty string."""
    # Here, as statuses need no template, and it takes a tenth of a second to import.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Nothing here is HTML, so autoescaping would only corrupt; hostile text goes through the comment filters.
    made = Environment(
        loader=PackageLoader("egress_compiler.render"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701
    )
    made.filters["comment"] = comment
    return made


def rendered(template: str, **values: object) -> Rendered:
    keys: list[tuple[Hashable, ...]] = []

    def here(*key: Hashable) -> str:
        keys.append(key)
        return f"\0{len(keys) - 1}\0"

    text = environment().get_template(template).render(here=here, **values)
    places: dict[tuple[Hashable, ...], int] = {}
    if keys:
        for number, line in enumerate(text.split("\n"), start=1):
            places |= {keys[int(index)]: number for index in _HERE.findall(line)}
    return Rendered(_HERE.sub("", text), places)

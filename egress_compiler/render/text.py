"""The template environment, and what makes any text safe inside a generated comment."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from egress_compiler import numbering
from egress_compiler.diagnostics import printable
from egress_compiler.ir import Source

COMMENT_WIDTH = 120
RULE_COMMENT_WIDTH = 120
"""nft takes 127 characters."""


@lru_cache(maxsize=65_536)
def comment(text: str) -> str:
    """One line without control characters, that no backslash at its end can join to the next."""
    return printable(" ".join(text.split()))[:COMMENT_WIDTH].rstrip("\\ ")


def rule_comment(text: str) -> str:
    """What may stand between the quotes of an nft comment; object names need no escapes."""
    return "".join(c for c in comment(text) if c not in '"\\')[:RULE_COMMENT_WIDTH]


def verdict_elements(sources: Iterable[Source], verb: str, prefix: str) -> list[str]:
    """The lines of a verdict map: what leads from each source to the chain of its class, and whose it is."""
    return [f"{s.source} : {verb} {prefix}.{s.traffic_class}, # {comment(s.owner)}" for s in sources]


def hexadecimal(value: int) -> str:
    return f"{value:#010x}"


@cache
def environment() -> Environment:
    """Templates see numbering's constants as ``n``; an unknown name is an error, not an empty string."""
    # Nothing here is HTML, so autoescaping would only corrupt; hostile text goes through the comment filters.
    made = Environment(
        loader=PackageLoader("egress_compiler.render"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701
    )
    made.filters |= {
        "comment": comment,
        "rule_comment": rule_comment,
        "hex": hexadecimal,
        "verdict_elements": verdict_elements,
    }
    made.globals["n"] = numbering
    return made


def rendered(template: str, **values: object) -> str:
    return environment().get_template(template).render(**values)

"""The pictures of the docs are what their program draws today, of the bundle as it is today."""

from pathlib import Path

import pytest

from docs.pictures.draw import BUNDLE, HERE, base_chains, pictures
from docs.pictures.svg import DoesNotFit, Picture

DOCS = HERE.parent


def test_pictures_are_as_drawn(update_golden: bool) -> None:
    drawn = pictures()
    if update_golden:
        for name, text in drawn.items():
            (HERE / name).write_text(text, encoding="utf-8")
    assert {path.name: path.read_text(encoding="utf-8") for path in HERE.glob("*.svg")} == drawn


def test_every_picture_is_shown() -> None:
    shown = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("*.md"))
    assert [name for name in pictures() if f"(pictures/{name})" not in shown] == []


@pytest.mark.parametrize("node", ["gate-a", "node-1"])
def test_no_base_chain_is_missing(node: str) -> None:
    text = Path(BUNDLE / node / "nftables.nft").read_text(encoding="utf-8")
    assert len(base_chains(text)) == text.count("type filter hook") + text.count("type nat hook") + text.count(
        "type route hook"
    )


def test_text_wider_than_its_box_is_refused() -> None:
    with pytest.raises(DoesNotFit, match="a line that"):
        Picture("small", 100, 100).box(0, 0, 60, ["a line that is wider than sixty"])

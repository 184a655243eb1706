"""Boxes, arrows and lines of text as SVG: legible without a font of its own, on light and on dark pages."""

from dataclasses import dataclass, field
from html import escape
from typing import Literal

Kind = Literal["host", "ours", "other", "device", "note"]
Ink = Literal["there", "back", "line"]

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
MONO = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
LINE = 16
SIZE = 12
PAD = 9
_FILL = {"host": "#f6f8fa", "ours": "#ddf4ff", "other": "#eaeef2", "device": "#fff8c5", "note": "none"}
_EDGE = {"host": "#8c959f", "ours": "#0969da", "other": "#afb8c1", "device": "#9a6700", "note": "none"}
_INK = {"there": "#0550ae", "back": "#1a7f37", "line": "#57606a"}
_WIDE = {False: 0.56, True: 0.62}
"""Width of a letter in units of the size, in a wide font: what fits by this fits everywhere."""


class DoesNotFit(ValueError):
    """A line of text is wider than its box."""


@dataclass(slots=True)
class Picture:
    """A picture of a size in pixels that things are put on, the later above the earlier."""

    title: str
    width: int
    height: int
    _parts: list[str] = field(default_factory=list)

    def box(
        self, x: int, y: int, width: int, lines: list[str], kind: Kind = "ours", height: int = 0
    ) -> tuple[int, int]:
        """A box with text from its top; ``*`` first makes a line bold, a backquote monospaced.

        Its lower right corner, for what comes next. DoesNotFit where a line would leave it.
        """
        height = height or 2 * PAD + LINE * len(lines) - 4
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{_FILL[kind]}"'
            f' stroke="{_EDGE[kind]}"/>'
        )
        for number, line in enumerate(lines):
            self.text(x + PAD, y + PAD + 9 + LINE * number, line, room=width - 2 * PAD)
        return x + width, y + height

    def text(self, x: int, y: int, line: str, *, ink: Ink | None = None, room: int = 0, anchor: str = "start") -> None:
        """A line with its baseline at y."""
        bold, mono, words = line.startswith("*"), line.startswith("`"), line.lstrip("*`")
        if room and len(words) * SIZE * _WIDE[mono] > room:
            raise DoesNotFit(f"{words!r} takes {len(words) * SIZE * _WIDE[mono]:.0f} of {room} pixels")
        style = f' font-family="{MONO}"' if mono else ""
        style += ' font-weight="600"' if bold else ""
        style += f' text-anchor="{anchor}"' if anchor != "start" else ""
        self._parts.append(
            f'<text x="{x}" y="{y}" fill="{_INK[ink] if ink else "#1f2328"}"{style}>{escape(words)}</text>'
        )

    def arrow(self, points: list[tuple[int, int]], ink: Ink = "there", *, dashed: bool = False) -> None:
        """A line through points that ends in an arrow head."""
        style = ' stroke-dasharray="6 4"' if dashed else ""
        self._parts.append(
            f'<polyline points="{" ".join(f"{x},{y}" for x, y in points)}" fill="none" stroke="{_INK[ink]}"'
            f' stroke-width="2"{style} marker-end="url(#{ink})"/>'
        )

    def line(self, points: list[tuple[int, int]], ink: Ink = "line", *, width: int = 1, dashed: bool = False) -> None:
        style = ' stroke-dasharray="4 4"' if dashed else ""
        self._parts.append(
            f'<polyline points="{" ".join(f"{x},{y}" for x, y in points)}" fill="none" stroke="{_INK[ink]}"'
            f' stroke-width="{width}"{style}/>'
        )

    def render(self) -> str:
        """The file's text; the card below everything is white, so that a dark page does no harm."""
        heads = "".join(
            f'<marker id="{ink}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"'
            f' orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
            for ink, colour in _INK.items()
        )
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}"'
                f' width="{self.width}" height="{self.height}" font-family="{FONT}" font-size="{SIZE}" role="img">',
                f"<title>{escape(self.title)}</title>",
                f"<defs>{heads}</defs>",
                f'<rect width="{self.width}" height="{self.height}" rx="8" fill="#ffffff"/>',
                *self._parts,
                "</svg>",
                "",
            ]
        )

"""Words between figures and tables."""

from typing import NamedTuple


class Text(NamedTuple):
    """Paragraphs, items of a list, or one folded text.

    Attributes:
        shape: ``text``, ``list`` or ``code``.
        lines: what is read.
        heading: above a list, or what unfolds the text.
        emphasis: ``verdict``, ``rule`` or ``alarm`` to make it stand out.
    """

    shape: str
    lines: tuple[str, ...]
    heading: str = ""
    emphasis: str = ""

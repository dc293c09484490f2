"""Where commands print: as wide as the terminal, or wide enough where there is none."""

from rich.console import Console

WIDE = 160  # columns; a file or a pipe has no width to keep to


def open_console() -> Console:
    """A console on standard output."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)

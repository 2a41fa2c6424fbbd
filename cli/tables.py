"""Tables and figures as the commands print them."""

from rich.table import Table

from cli.console import console

_WIDE_COLUMNS = 120


def plain_table(first: str, *others: str, gap: int = 3) -> Table:
    """A table without lines: names on the left, figures to the right of their columns, which are
    `gap` apart."""
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def add_rest(table: Table, name: str) -> None:
    """Adds a last column of words, which alone gives way where the terminal is narrow."""
    table.expand = True
    table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=1)


def wide() -> bool:
    """Whether there is room for what one can do without; ids are never cut short for it."""
    return console.width >= _WIDE_COLUMNS


def size(size_bytes: int) -> str:
    """Bytes as people say them."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def sessions(number: int) -> str:
    """How many there are, in words."""
    return f"{number} session{'' if number == 1 else 's'}"

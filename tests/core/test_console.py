"""Tables of figures are never cut."""

import io

from rich.console import Console
from rich.table import Table

from tablefold.console import print_figures


def test_no_figure_is_cut_to_the_width_of_the_terminal():
    figures = [f"{10**power:,}" for power in range(9, 18)]
    table = Table(*(f"column {figure}" for figure in figures))
    table.add_row(*figures)
    written = io.StringIO()
    print_figures(Console(file=written, width=40), table)
    lines = written.getvalue().splitlines()
    assert all(f" {figure} " in lines[3] for figure in figures)
    assert "…" not in written.getvalue()

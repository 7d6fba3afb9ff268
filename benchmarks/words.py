"""Pages of results in two languages, made of stored numbers: pick a sentence, set a table.

In: sentences and rows. Out: Markdown. Called by the benchmarks that write a page of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class Words:
    """Picks the sentence of the page's language; tables are given their head and their rows."""

    def __init__(self, chinese: bool):
        self.chinese = chinese

    def __call__(self, english: str, chinese: str) -> str:
        return chinese if self.chinese else english

    def table(self, heads: Sequence[tuple[str, str]], rows: Iterable[Sequence[object]], named: int = 1) -> str:
        """A table whose first `named` columns are words and whose others are numbers, to the right."""
        line = "|" + "|".join("---" if number < named else "---:" for number in range(len(heads))) + "|"
        cells = [[self(*head) for head in heads], *([str(cell) for cell in row] for row in rows)]
        top, *rest = (f"| {' | '.join(row)} |" for row in cells)
        return "\n".join((top, line, *rest))

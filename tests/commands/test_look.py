"""What `danlu look` shows of a training row, with colours and without."""

from rich.text import Text

from danlu.commands.look import marked
from danlu.shards.look import ShownToken

ROW = [
    ShownToken("<|bos|>", False, 0),
    ShownToken("[red]", False, 0),
    ShownToken("yes", True, 0),
    ShownToken("<|end|>", True, 0),
    ShownToken("<|bos|>", False, 1),
    ShownToken("no", True, 1),
]


def plain(markup):
    return Text.from_markup(markup).plain


def test_the_loss_mask_is_seen_without_colours():
    assert plain(marked(ROW, coloured=False)) == "<|bos|>·[red]·⟦yes·<|end|>⟧·|·<|bos|>·⟦no⟧"


def test_the_loss_mask_is_coloured_where_colours_are_seen():
    shown = Text.from_markup(marked(ROW, coloured=True))
    green = [shown.plain[span.start : span.end] for span in shown.spans if span.style == "green"]
    assert green == ["yes·<|end|>", "no"]
    assert "⟦" not in shown.plain

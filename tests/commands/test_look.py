"""What `danlu look` shows of a training row, with colours and without."""

import json

from rich.text import Text

from danlu.base import console
from danlu.base.artifact import seal
from danlu.commands import look
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


def test_rejections_are_shown_in_turn_from_every_reason_with_their_numbers(tmp_path, capsys):
    reasons = ["duplicate"] * 5 + ["too_short"] * 2 + ["not_utf8"]
    records = [{"id": f"{n}", "source": f"s{n}", "reason": reason, "excerpt": "x"} for n, reason in enumerate(reasons)]
    (tmp_path / "rejected.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    seal(tmp_path, kind="corpus", stage="prepare", version=1, config={}, parents={}, metrics={}, seconds=0.0)

    def shown(**options):
        look.run(tmp_path, what="rejected", **options)
        lines = capsys.readouterr().out.splitlines()
        return lines[0], [line.split()[1] for line in lines if "  s" in line]

    assert shown(count=5) == ("5 duplicate, 2 too_short, 1 not_utf8", ["s0", "s5", "s7", "s1", "s6"])
    assert shown(count=3, start=5)[1] == ["s2", "s3", "s4"]
    assert shown(count=9, reason="too_short")[1] == ["s5", "s6"]
    (tmp_path / "rejected.jsonl").write_text("")
    seal(tmp_path, kind="corpus", stage="prepare", version=1, config={}, parents={}, metrics={}, seconds=0.0)
    assert shown() == ("nothing was rejected", [])


def test_scripts_get_what_a_person_sees_as_objects(capsys):
    console.set_mode(json_lines=True)
    console.say_markup("[red]too_short[/red]  a.txt")
    console.set_mode()
    assert json.loads(capsys.readouterr().out) == {"event": "log", "text": "too_short  a.txt"}

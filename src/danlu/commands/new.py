"""`danlu new NAME`: a starter recipe and a small text.

In: a folder name. Out: `NAME/recipe.yaml`, `NAME/text/*.txt`, and the next commands. Called by `cli`.
Overwrites nothing.
"""

from __future__ import annotations

from pathlib import Path

from danlu.base import console
from danlu.base.errors import ConfigError
from danlu.commands.invocation import called
from danlu.recipe import NAME

RECIPE = """\
# {name}: from your own text to a served model. Put files into text/ (txt, jsonl, parquet, also .gz, .zst, .xz, .bz2).
# `danlu show {page}` explains every number; every value can also be given on the command line: pretrain.epochs=4
name: {name}
seed: 0

prepare:
  sources:
    - path: {folder}/text
      separator: blank line   # leave this out where one file is one document
  validation_share: 0.15      # this text is tiny; 0.02 is plenty for a real one
  test_share: 0.15

tokenizer:
  vocabulary_size: 512        # a few thousand for megabytes of text, 32k for gigabytes

shard:
  row_length: 128

pretrain:
  size: tiny                  # the one dial: tiny, small, base, 1b, 3b, 7b
  epochs: 8                   # this text, eight times: to see the whole way. It is far too short to learn a language
                              # from; a few megabytes are not: then write minutes: 60 here and leave out the next line
  batch_rows: 2               # so few rows make a step otherwise that there would be none to see

evaluate: {{}}

export: {{}}
"""

TEXTS = {
    "furnace.txt": """\
The furnace stood at the edge of the village. Every evening the old smith lit it, and every morning he swept it.

A girl came to watch. She asked what he was making. He said that he did not know yet; the fire would tell him.

So she came again the next day, and the next, and learned to read the colour of the iron, from cherry to straw.

One day the smith was ill. The girl lit the furnace alone, and what came out of it in the evening was a small bell.

They hung the bell over the door of the school. When it rings, the smith looks up from his work and smiles.

丹炉在村子的边上。每天傍晚，老铁匠把火点起来；每天早晨，他把灰扫出去。

一个女孩来看。她问他在做什么。他说还不知道，火会告诉他。

于是她第二天来，第三天也来，慢慢学会了看铁的颜色，从樱桃红到麦秆黄。

有一天铁匠病了。女孩一个人点起了炉子，傍晚从炉子里出来的，是一只小小的铃。

他们把铃挂在学校的门上。铃一响，铁匠就从活计里抬起头来，笑一笑。
""",
    "river.txt": """\
The river is wide in spring and narrow in autumn. In spring the boats go far; in autumn children cross it on stones.

My grandmother counted the boats. She wrote the numbers in a book: three on Monday, five on Tuesday, none on Sunday.

In the year of the flood she counted no boats for a month, and drew the water instead, a little higher every day.

The book lies in my drawer now. I count the boats as she did, and on some days I get the same numbers.

春天河水很宽，秋天河水很窄。春天船走得很远，秋天孩子们踩着石头过河。

奶奶数船。她把数字写在一个小本子上：星期一三条，星期二五条，星期天一条也没有。

发大水的那一年，她一个月没有数船，只画了水，每天高一点点。

现在本子在我的抽屉里。我像她那样数船，有些日子，数出来的和她一样多。
""",
}


def run(folder: Path) -> None:
    """Write the starter files and say what to do next."""
    if not NAME.fullmatch(str(folder)):
        raise ConfigError(
            "a name has letters, digits, '-', '_' and '.'; it is the name of a new folder here, and no path",
            found=folder,
            remedy="go to where the folder is to lie, and give its name alone",
        )
    if folder.exists():
        raise ConfigError("this name is taken", where=folder, remedy="choose another name, or remove the folder")
    (folder / "text").mkdir(parents=True)
    for name, text in TEXTS.items():
        (folder / "text" / name).write_text(text, encoding="utf-8")
    page = folder / "recipe.yaml"
    page.write_text(RECIPE.format(name=folder.name, page=page.as_posix(), folder=folder.as_posix()), encoding="utf-8")
    console.say(f"made {folder}/ with recipe.yaml and text/")
    console.say("next:")
    for command in (f"show {page}", f"run {page}", f"chat runs/{folder.name}/pretrain"):
        console.say(f"  {called()} {command}")
    console.emit("done", recipe=str(page))

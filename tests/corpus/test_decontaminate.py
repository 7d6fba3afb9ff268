"""Leaks: how long a run is in which script, prompts that all questions share, citations, evaluation sets in CSV."""

import json

import pytest

from danlu.base.config import read_settings
from danlu.base.errors import DataError
from danlu.corpus.decontaminate import PROMPT_TEXTS, Decontaminator, Lengths, Runs
from danlu.corpus.shingles import codes_of, units
from danlu.corpus.sources import Source, source_files
from danlu.stages import prepare

KANA = "わたしはまいあさかわのそばをあるいてがっこうへいきますがきょうはやすみです"
THAI = "ในฤดูใบไม้ผลิเด็กๆชอบเล่นว่าวริมแม่น้ำแล้วพวกเขาก็กลับบ้านไปกินข้าวกับแม่ของเขา"
HAN = "磨坊建在两条河交汇的地方每天早上磨坊主打开闸门看看水势再决定当天能磨多少粮食"
ENGLISH = "the mill stands where the two rivers meet and every morning the miller opens the gate to look at it"


def length_of(text):
    codes = codes_of(text)
    return Lengths().of(units(codes), codes)


def test_a_run_has_words_or_characters_as_the_script_wants_it():
    assert [length_of(text) for text in (ENGLISH, HAN, KANA, THAI)] == [13, 20, 20, 40]
    assert length_of("用Transformer模型和PyTorch训练一个很小的语言模型") == 20
    assert length_of(f"{ENGLISH} 磨坊") == 13
    assert length_of("") == 13


@pytest.mark.parametrize(("text", "units_needed"), [(ENGLISH, 13), (HAN, 20), (KANA, 20), (THAI, 40)])
def test_so_much_of_a_text_is_a_leak_and_one_unit_less_is_none(text, units_needed):
    runs = Runs()
    assert runs.learn(text)
    found = units(codes_of(text))
    held = text[int(found.begins[1]) : int(found.ends[units_needed])]
    less = text[int(found.begins[1]) : int(found.ends[units_needed - 1])]
    assert runs.find(f"x {held} y") is not None
    assert runs.find(f"x {less} y") is None


def test_eight_kana_are_too_short_to_be_told_from_others():
    assert not Runs().learn(KANA[:8])
    assert not Runs().learn(KANA[:11])
    assert Runs().learn(KANA[:12])


def test_the_look_of_an_emoji_is_no_word():
    runs = Runs()
    assert runs.learn("we ❤\ufe0f the old mill by the river and 1\ufe0f\u20e3 day we shall all go back there again")
    assert runs.find("we ❤ the old mill by the river and 1 day we shall all go back there again") is not None


def test_the_numbers_of_citations_make_no_difference_on_either_side():
    plain = "the mill was built in stone after the great flood, and the old wooden wheel was kept for show"
    cited = plain.replace("flood,", "flood,[12][3]").replace("stone", "stone[citation needed]")
    for learned, searched in ((plain, cited), (cited, plain), (cited, cited)):
        runs = Runs()
        runs.learn(learned)
        assert runs.find(f"As we know, {searched}.") is not None
    chinese = "磨坊建在两条河[1]交汇的地方，每天早上磨坊主打开闸门[来源请求]看看水势"
    runs = Runs()
    runs.learn(chinese)
    assert runs.find(chinese.replace("[1]", "").replace("[来源请求]", "")) is not None


def evaluation(folder, name, content):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content, encoding="utf-8")
    return source_files([Source(str(folder / name), sheets=True)])


def looked_for(files):
    return Decontaminator.of(files, Lengths(), lambda text: text)


PROMPT = "Read the following passage with care and then answer the question below it in one short sentence only."

TREES = ("alder", "birch", "cedar", "elder", "fir", "gorse", "holly", "ivy", "juniper", "larch", "maple", "oak", "pine")


def questions(count):
    return [" ".join(f"{word}{number}" for word in TREES) for number in range(count)]


def test_the_prompt_of_an_evaluation_set_betrays_none_of_its_texts(tmp_path):
    asked = questions(40)
    lines = "".join(json.dumps({"text": f"{PROMPT} {one}"}) + "\n" for one in asked)
    found = looked_for(evaluation(tmp_path, "a.jsonl", lines))
    assert found.runs.find(f"Our teacher always said: {PROMPT}") is None
    hit = found.runs.find(f"Copied from the test: {asked[7]}")
    assert hit is not None
    assert hit.texts.tolist() == [7]
    assert found.report()["a.jsonl"]["prompt_runs"] == 6, "18 words hold so many runs of 13"


def test_a_passage_that_some_questions_share_is_no_prompt(tmp_path):
    texts = [f"{PROMPT} {one}" if number < PROMPT_TEXTS - 1 else one for number, one in enumerate(questions(40))]
    found = looked_for(evaluation(tmp_path, "a.jsonl", "".join(json.dumps({"text": one}) + "\n" for one in texts)))
    assert found.runs.find(PROMPT).texts.tolist() == list(range(PROMPT_TEXTS - 1))
    many = [f"{PROMPT} {one}" if number < 12 else one for number, one in enumerate(questions(400))]
    found = looked_for(evaluation(tmp_path, "b.jsonl", "".join(json.dumps({"text": one}) + "\n" for one in many)))
    assert len(found.runs.find(PROMPT).texts) == 12, "three in a hundred"


def test_a_text_that_stands_often_in_its_file_is_still_looked_for(tmp_path):
    lines = (json.dumps({"text": PROMPT}) + "\n") * 30
    assert looked_for(evaluation(tmp_path, "a.jsonl", lines)).runs.find(PROMPT) is not None


MMLU = (
    '"The mill stands where two rivers meet, and every morning the miller looks at the water. What does he do?",'
    "He opens the gate,He sells the mill,4,He sleeps,A\n"
    "Which of the following trees keeps its needles in winter and is not a larch?,Pine,Oak,Maple,Birch,A\n"
)
C_EVAL = (
    "id,question,A,B,C,D,answer,explanation\n"
    "0,磨坊建在两条河交汇的地方，每天早上磨坊主先做什么？,打开闸门,卖掉磨坊,睡觉,看书,A,\n"
)


@pytest.mark.parametrize(
    ("name", "content", "texts", "leak"),
    [
        ("mmlu.csv", MMLU, 2, "he said: where two rivers meet, and every morning the miller looks at the water, so"),
        (
            "mmlu.csv",
            "\ufeff" + MMLU,
            2,
            "trees keeps its needles in winter and is not a larch? Pine, oak, maple, birch",
        ),
        ("ceval.csv", C_EVAL, 1, "有人问：磨坊建在两条河交汇的地方每天早上磨坊主先做什么"),
        (
            "set.tsv",
            MMLU.replace(",He", "\tHe").replace('"', ""),
            2,
            "two rivers meet and every morning the miller looks at the water what",
        ),
        ("set.csv", 'number,text\n1,"' + ENGLISH + '"\n2,\n', 2, ENGLISH),
    ],
)
def test_evaluation_sets_come_as_csv_and_tsv(tmp_path, name, content, texts, leak):
    found = looked_for(evaluation(tmp_path, name, content))
    assert found.report()[name]["texts"] == texts
    assert found.runs.find(leak) is not None
    assert found.runs.find("0 A B C D A") is None


def test_a_cell_of_several_lines_is_one_text_and_a_broken_table_is_told(tmp_path):
    cell = ENGLISH.replace(" and", "\nand")
    found = looked_for(evaluation(tmp_path, "a.csv", f'question,answer\n"{cell}",A\n'))
    assert found.report()["a.csv"]["texts"] == 1
    assert found.runs.find(ENGLISH) is not None
    assert found.names[0][1] == "a.csv#2"


@pytest.mark.parametrize("encoding", ["utf-16", "gb18030"])
def test_sets_from_a_spreadsheet_are_read(tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes(C_EVAL.encode(encoding))
    found = looked_for(source_files([Source(str(tmp_path / "a.csv"), sheets=True)]))
    assert found.runs.find("磨坊建在两条河交汇的地方每天早上磨坊主先做什么") is not None


def test_a_file_that_is_no_text_is_one_clear_error(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xff\xff\0")
    with pytest.raises(DataError, match="nothing to look for"):
        looked_for(source_files([Source(str(tmp_path / "a.csv"), sheets=True)]))


def test_the_stage_takes_csv_for_evaluation_and_not_as_a_source(tmp_path):
    evaluation(tmp_path / "exam", "mmlu.csv", MMLU)
    (tmp_path / "text").mkdir()
    leak = {"text": "Once more: two rivers meet, and every morning the miller looks at the water. What does he do?"}
    lines = json.dumps(leak) + "\n" + json.dumps({"text": "Nothing of this stands in any exam that we know of."})
    (tmp_path / "text" / "a.jsonl").write_text(lines)
    (tmp_path / "text" / "b.csv").write_text("a,b\n1,2\n")
    (tmp_path / "out").mkdir()
    values = {
        "sources": str(tmp_path / "text"),
        "decontaminate": str(tmp_path / "exam" / "mmlu.csv"),
        "validation_share": 0,
        "test_share": 0,
    }
    made = prepare.run(read_settings(prepare.Config, values, "test"), {}, tmp_path / "out")
    rejected = [json.loads(line) for line in made.path("rejected.jsonl").read_bytes().splitlines()]
    assert sorted(one["reason"] for one in rejected) == ["contaminated", "unknown_format"]
    sources = (made.folder / "sources" / "manifest.json").read_text()
    assert "mmlu.csv" in json.dumps(json.loads(made.path("report.json").read_bytes()))
    assert "unread" not in sources

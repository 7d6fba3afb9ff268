"""Names and addresses: one kept and one hidden of each form, and how many of a set of sentences are found rightly.

In the sentences, brackets such as ⟦张伟⟧ stand around what is private. The measured shares are printed and may only
become better. In newspapers and encyclopaedias (beside the repository), what is hidden behind Mr and 先生 is a person.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from danlu.corpus.privacy import USUAL, KindName, Privacy

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "eval" / "ner"

NAMES = """\
姓名：⟦张伟⟧，性别：男
联系人：⟦欧阳娜娜⟧ 电话另附
收件人 ⟦李小红⟧
患者姓名：⟦陈静⟧，年龄四十二岁。
户名：⟦王建国⟧
请⟦张⟧先生到前台来一下。
昨天见到了⟦王⟧老师和⟦李明⟧老师。
向⟦王⟧老师请教了一个问题。
⟦高⟧老师今天不在办公室。
监考的是⟦刘晓燕⟧女士。
⟦诸葛⟧先生讲了一个笑话。
委托⟦赵志强⟧律师代理此案。
主治的⟦孙⟧医生说没有大碍。
⟦于小丽⟧同学获得了一等奖。
我们经理，⟦周大海⟧先生，下周回来。
和⟦林志颖⟧先生一起吃饭。
找⟦谢⟧老师补习。
法定代表人：⟦马云龙⟧
负责人为：⟦郑和平⟧
申请人 ⟦司马光⟧
老舍先生的作品很有名。
任何同学都可以报名参加。
感谢老师的教导，谢谢同学们。
高中老师和高级律师都来了。
历史老师讲得很好，工程经理也同意。
班主任老师周末老师都在。
曾经理解过这个问题，也曾经理过财。
韩国小姐选美大赛在周一举行。
许多同学参加了校友同学会。
他是一位老师，也是一位医生。
对方律师没有到场，双方经理都签了字。
姓名：（请填写）
联系人：人事部
其余同学留下，关于同学的事以后再说。
张灯结彩，李下不正冠。
小王去找老李，说张三来过。
项目方案经理和林业医生开会。
Please ask Mr. ⟦John Smith⟧ about it.
Dr ⟦Watson⟧ wrote it down; Mrs. ⟦Hudson⟧ made tea.
We met Prof. ⟦Ada B. Lovelace⟧ in Leeds.
Ms ⟦O'Brien⟧ and Mr ⟦McDonald⟧ agreed.
Mr. ⟦J. R. Tolkien⟧ signed the letter.
Name: ⟦Jane Smith⟧
Patient: ⟦Tom A. Brown⟧, aged 40
Customer name: ⟦Mary-Ann Jones⟧
Attn: ⟦Peter Parker⟧
Dear Dr. ⟦Müller⟧, thank you.
Your ticket was sold by Mx ⟦Kim Lee⟧.
The judge was Miss ⟦Emma Woodhouse⟧.
Mr. President, Mr. Speaker, members of the House.
Dr Pepper is a drink, and Dr. Who is a series.
File Name: Annual Report
Company Name: Blue Widgets
DMs Alice got were many.
Mr and Mrs are titles.
My name: it does not matter.
Every Mr. Right has a Mr. Wrong.
The HMs Victory sailed; see CMs Weekly.
Jane Smith wrote to John Brown.
Prof. Emeritus is a title, too.
订单的寄件人：⟦何洁⟧，收件人：⟦贾宝玉⟧
⟦顾⟧律师建议我们和解。
感谢⟦胡⟧医生，⟦曹操⟧同学请坐下。
本店⟦吴大明⟧经理，客户经理另有其人。
老张和⟦陆小曼⟧女士认识多年。
⟦覃⟧太太把钥匙落在家里了。
先生，您的咖啡。小姐，请慢走。
女医生和男老师都可以报名。
外科医生、大堂经理、辩护律师各一名。
黄河太太平了，李子熟了，王后驾到。
⟦石⟧经理和⟦毛⟧经理是同乡，⟦汤⟧老师不是。
万达广场的店长姓何，不是经理。
Thanks, Mr ⟦Lee⟧! Prof ⟦Chen⟧ will call.
Ms. ⟦Garcia⟧'s car, Dr. ⟦Singh⟧'s notes.
Contact name: ⟦Robert Louis⟧
Mr. Justice spoke; Dr. No was a film.
Her Name: a story. Domain Name: Example Site
"""

ADDRESSES = """\
我住在⟦北京市海淀区中关村大街27号院3号楼2单元501室⟧，欢迎来玩。
住址：⟦绍兴市越城区鲁迅中路393号⟧
收货地址：⟦广东省深圳市南山区科技园路15号阳光花园3栋2单元501室⟧
公司在⟦上海市浦东新区世纪大道100号⟧。
⟦杭州市西湖区文三路90号东部软件园3号楼201室⟧
老家是⟦河北省保定市定兴县北河镇三里村12号⟧，
⟦内蒙古自治区呼和浩特市新城区新华大街56号⟧
家住⟦兴化市昭阳镇英武中路8号⟧的老人
⟦重庆市渝中区解放碑街道民族路１８８号⟧
快递寄到⟦成都市武侯区桐梓林小区7栋1单元402⟧
地址：⟦昌平区回龙观镇龙腾苑五区12号楼3单元601室⟧
户籍所在地：⟦新疆维吾尔自治区乌鲁木齐市天山区解放南路66号⟧
⟦南京市鼓楼区汉口路22号⟧是一所大学。
暂住于⟦苏州工业园区星湖街328号⟧
我在北京市海淀区工作，每天坐地铁。
中山路12号线还没有开通。
上海市浦东新区的世纪大道很宽。
他住在一楼，办公室是501室。
北京路上有很多商店。
第3号楼的住户请注意。
从北京到上海走高速公路，共5号出口。
地址：请填写省市区和门牌号
位于山东省济南市的趵突泉是名胜。
2024年3月12号，我们在广州开会。
他排在12号，我排在13号。
国道107号公路经过河南省郑州市。
上海地铁2号线经过南京东路站。
南昌起义发生在8月1号。
She lives at ⟦12 Oak Lane⟧.
Ship to ⟦350 Fifth Avenue, New York, NY 10118⟧ by Monday.
Holmes wrote from ⟦221B Baker Street, London NW1 6XE⟧.
Address: ⟦742 Evergreen Terrace, Springfield, IL 62704⟧
Send it to ⟦Flat 2, 14 Elm Grove, Leeds LS6 2AB⟧, please.
They met at ⟦123 W 34th St., Apt 4B, New York, NY 10001⟧.
The office is ⟦1600 Pennsylvania Avenue NW, Washington, DC 20500⟧.
My address is ⟦45 St. John's Road, Oxford⟧
He lived at ⟦9 Rue Lane, Bath⟧ for a year.
Deliver to ⟦1455 Market St, Suite 600, San Francisco, CA 94103⟧
⟦10 Downing Street, London SW1A 2AA⟧ is well known.
⟦77 Massachusetts Ave, Cambridge, MA 02139-4307⟧
She resides at ⟦8 The Crescent, York⟧.
⟦Unit 5, 20 Mill Road, Cambridge CB1 2AD⟧
In 1999 Wall Street crashed.
The 12 Angry Men Drive the plot.
Chapter 5 Great Way to start.
About 300 Main Street shops closed.
He ran 100 Miles Road races, 20 Hill repeats.
Live at 9 on Channel 4, with 20 Dance Court stars.
Route 66 and Highway 101 cross in California.
Shipped to 20 countries in 5 days.
We walked down Baker Street in London.
Version 2.0, Build 14 Park Place edition.
There are 50 States, 3 Courts and 2 Squares.
Psalm 23 King James Way
寄往⟦西安市雁塔区小寨西路2号院5号楼⟧，⟦长沙市岳麓区麓山南路932号⟧收。
⟦安徽省合肥市包河区金寨路九十六号⟧
地址：⟦江阴市澄江街道人民中路20号中街大厦B座1203室⟧
店在⟦厦门思明区环岛南路58之2号⟧
他家在长江路附近，门牌是3号。
请到三楼302室，找2号窗口。
北京市2022年发布了第15号文件。
广州大道中路段发生事故，伤者送往5号楼。
天津港8号码头，河北的2号高炉。
湖南卫视1号演播室在长沙。
Visit ⟦30 St Mary Axe, London EC3A 8BF⟧ today.
Mail to ⟦5 Elm Ct⟧ please.
⟦2300 Traverwood Dr., Ann Arbor, MI 48105⟧
⟦1 Infinite Loop, Cupertino, CA 95014⟧
His address: ⟦16 Willow Walk, Bristol BS1 4QA⟧
In 2020 Park Place, Inc. grew in 12 States.
7 Nation Road trips and 9 Lives Lane tales.
A 5 Star Place in Rome, 3 Court rulings, CA law.
"""


def sentences(text: str) -> Iterator[tuple[str, set[tuple[int, int]]]]:
    """Each sentence without its marks, and the places of what stood in them."""
    for line in text.splitlines():
        places, plain = set(), ""
        for number, piece in enumerate(re.split(r"[⟦⟧]", line)):
            if number % 2:
                places.add((len(plain), len(plain) + len(piece)))
            plain += piece
        yield plain, places


def measured(kind: KindName, text: str) -> tuple[float, float, list[str]]:
    """Recall, precision, and the sentences in which they are not whole."""
    found = right = wanted = 0
    wrong = []
    for plain, places in sentences(text):
        there = {(one.start, one.end) for one in Privacy((kind,)).find(plain)}
        found, right, wanted = found + len(there), right + len(there & places), wanted + len(places)
        if there != places:
            wrong.append(f"{plain} {[plain[start:end] for start, end in sorted(there)]}")
    return right / wanted, right / found, wrong


@pytest.mark.parametrize(
    ("kind", "text", "least_recall", "least_precision"),
    [("name", NAMES, 0.88, 0.97), ("address", ADDRESSES, 0.92, 0.97)],
)
def test_of_what_stands_in_the_sentences_most_is_found_and_hardly_anything_else(
    kind, text, least_recall, least_precision, capsys
):
    recall, precision, wrong = measured(kind, text)
    with capsys.disabled():
        print(f"\n  {kind:8} recall {recall:.3f}  precision {precision:.3f}")
    assert recall >= least_recall, wrong
    assert precision >= least_precision, wrong
    assert any(places for _, places in sentences(text))
    assert any(not places for _, places in sentences(text))


@pytest.mark.parametrize(
    ("kind", "kept", "given", "hidden"),
    [
        ("name", "老师和经理", "姓名：张三", "姓名：[NAME]"),
        ("name", "张三走了", "张先生走了", "[NAME]先生走了"),
        ("name", "John Smith left", "Mr. John Smith left", "Mr. [NAME] left"),
        ("name", "File Name: Annual Report", "Name: John Smith", "Name: [NAME]"),
        ("address", "北京市海淀区", "北京市海淀区中关村大街27号", "[ADDRESS]"),
        ("address", "中山路12号", "住址：越城区中山路12号", "住址：[ADDRESS]"),
        ("address", "12 Oak Lane", "12 Oak Lane, Springfield, IL 62704", "[ADDRESS]"),
        ("address", "at 12 Oak Lane", "12 Oak Lane, Leeds LS6 2AB", "[ADDRESS]"),
        ("address", "Live at 9", "lives at 12 Oak Lane", "lives at [ADDRESS]"),
    ],
)
def test_one_of_each_form_is_hidden_and_a_near_one_is_kept(kind, kept, given, hidden):
    privacy = Privacy((kind,))
    assert privacy.hide(kept).text == kept
    assert privacy.hide(given).text == hidden


def test_nobody_who_did_not_ask_loses_a_name_or_an_address():
    assert not {"name", "address"} & set(USUAL)
    text = "姓名：张三，住址：北京市海淀区中关村大街27号。Mr. John Smith lives at 12 Oak Lane."
    assert Privacy().hide(text).text == text
    assert Privacy(("name", "address")).hide(text).counts() == {"name": 2, "address": 2}


def test_an_address_has_one_pseudonym_and_its_street_is_no_doctor():
    privacy = Privacy(("name", "address"), "pseudonym", b"k" * 32)
    one, two = (privacy.hide(f"{start}350 Oak Dr Springfield, IL 62704.").text for start in ("", "Ship to "))
    assert one.startswith("[ADDRESS-")
    assert two == f"Ship to {one}"


@pytest.mark.parametrize("start", ["北京市", "住址：", "12 Oak ", "地址", "Mr. A. ", "张"])
@pytest.mark.parametrize(
    "filling", ["区", "中关", "一一", "Oak Lane ", "1号", "路1", "Ann ", "花园1栋", "小", "市区县镇"]
)
def test_no_text_makes_the_patterns_slow(start, filling):
    """A few hundred thousand characters of what nearly matches: quadratic or worse would not end."""
    text = (start + filling * 40) * (100_000 // (40 * len(filling))) + start + filling * 20_000
    Privacy(("name", "address")).find(text)


def tagged(path: Path) -> Iterator[tuple[str, str]]:
    """Each sentence of a file of words and tags, and for each of its characters P where a person is named."""
    gap = "" if "_zh_" in path.name else " "
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        words = [line.rsplit(maxsplit=1) for line in block.splitlines() if len(line.split()) == 2]
        tags = ["P" if tag.endswith("PER") else "-" for _, tag in words]
        marks = [tag * len(word) for (word, _), tag in zip(words, tags, strict=True)]
        yield gap.join(word for word, _ in words), ("?" if gap else "").join(marks)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is not beside the repository")
def test_in_newspapers_and_encyclopaedias_what_is_hidden_as_a_name_is_one(capsys):
    privacy, right, wrong = Privacy(("name",)), [], []
    for path in sorted(SHARED.glob("*.conll")):
        for text, marks in tagged(path):
            for one in privacy.find(text):
                is_person = set(marks[one.start : one.end]) <= {"P", "?"}
                (right if is_person else wrong).append(text[one.start : one.end])
    with capsys.disabled():
        print(f"\n  {len(right)} of {len(right) + len(wrong)} hidden names are persons; others: {', '.join(wrong)}")
    assert len(right) >= 12
    assert len(wrong) <= 2

"""What names a person and where one lives, as patterns: names beside a title or a label, postal addresses.

In: nothing. Out: patterns, of which the group `it` is the datum, and the pieces without which they match nothing.
Called by `privacy`, whose table says when they are used: only where a recipe asks for them. They would rather miss than
hide too much: a name without a title is not one, and a street and its number are an address only where a city, a room,
a postcode or a word such as 住址 says so. Mainland addresses; those of the United States and the United Kingdom.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

FIRST_HAN, LAST_HAN = 0x4E00, 0x9FFF


def _han_without(characters: Iterable[str]) -> str:
    """A class of all Chinese characters but these: faster than to look ahead at each."""
    codes = sorted(map(ord, set(characters)))
    starts, ends = [FIRST_HAN, *(code + 1 for code in codes)], [*(code - 1 for code in codes), LAST_HAN]
    ranges = [(start, end) for start, end in zip(starts, ends, strict=True) if start <= end]
    return "[" + "".join(f"{chr(start)}-{chr(end)}" for start, end in ranges) + "]"


def _without(characters: str, others: str) -> str:
    return "".join(one for one in characters if one not in others)


HAN = f"[{chr(FIRST_HAN)}-{chr(LAST_HAN)}]"
SURNAMES = (
    "王李张張刘劉陈陳杨楊黄黃赵趙吴吳周徐孙孫马馬朱胡郭何高林罗羅郑鄭梁谢謝宋唐许許韩韓冯馮邓鄧曹彭曾肖田董袁潘于蒋蔣蔡余杜叶葉程苏蘇"
    "魏吕呂丁任沈姚卢盧姜崔钟鐘谭譚陆陸汪范石廖贾賈夏韦韋付方白邹鄒孟熊秦邱江尹薛闫段雷侯龙龍史陶黎贺賀顾顧毛郝龚龔邵万萬钱錢严嚴"
    "覃武戴莫孔向汤湯"
)
ENDS_WORDS = (
    "马馬何高林罗羅谢謝唐许許田董于余叶葉程苏蘇丁任钟鐘陆陸范石夏付方白江段侯龙龍史顾顧毛万萬钱錢严嚴武莫孔向汤湯"
)
"""Surnames with which many words end: 感谢, 历史, 工程, 主任. Before a title they are names only where none can end."""
DOUBLE_SURNAMES = "欧阳|歐陽|司马|司馬|上官|诸葛|諸葛|夏侯|东方|東方|皇甫|尉迟|公孙|慕容|令狐"
SURNAME = rf"(?:{DOUBLE_SURNAMES}|[{SURNAMES}])"
IN_NO_NAME = (
    "的了是在有和与與或及这這那哪个個位名们們各等不也就都说說对對把被给給让讓向跟同為为之其谢謝多级級"
    "部店课課系班校区區市省县縣司厂廠院局处處室组組队隊"
)
"""What stands beside names, and in no given name."""
GIVEN = _han_without(IN_NO_NAME)
LABELS = (
    *("姓名", "联系人", "聯絡人", "收件人", "寄件人", "申请人", "申請人", "患者", "户名", "经办人", "代表人", "负责人"),
    "持卡人",
)
LABELLED = re.compile(rf"(?:{'|'.join(LABELS)})(?:为|是)?[:： ]\s?(?P<it>{SURNAME}{HAN}{{1,2}})(?!{HAN})")
TITLES = {
    "先生": "",
    "女士": "",
    "小姐": "姐妹",
    "老师": "傅",
    "老師": "傅",
    "医生": "",
    "醫生": "",
    "同学": "习会科术院",
    "同學": "習會科術院",
    "经理": "解想论性智应由财",
    "律师": "",
    "律師": "",
    "太太": "平",
}
"""Title -> characters behind which it is none: 同学会, 经理解."""
TITLE = "|".join(f"{title}(?![{behind}])" if behind else title for title, behind in TITLES.items())
NO_NAME = (
    "周[一二三四五六日末]|韩[国语文]|韓[國語文]|黄[金山石]|高[中级等校]|任[何课]|[徐郑]州|曾经|王国|孟加|马上|方便"
)
"""How words begin that look like names: 韩国小姐, 高中老师."""
WORD_ENDS = "行李|紧张|夸张|主张|祝贺|爱戴|国王|女王|不曾|未曾|子孙|地雷"
TITLED = re.compile(
    rf"(?P<it>(?!{NO_NAME})(?:{DOUBLE_SURNAMES}|[{_without(SURNAMES, ENDS_WORDS)}]"
    rf"(?<!{WORD_ENDS.replace('|', ')(?<!')})|(?<!{HAN})(?!向{SURNAME})[{ENDS_WORDS}]){GIVEN}{{0,2}}?)(?:{TITLE})"
)

CAPITALISED = r"(?:(?:Mc|Mac|O['’]|D['’])?[A-ZÀ-ÖØ-Þ][a-zà-öø-ÿ]{1,20})"
INITIAL = r"(?:[A-Z]\.)"
NO_PERSON = (
    "President|Speaker|Chair|Chairman|Chairwoman|Chairperson|Secretary|Justice|Ambassador|Minister|Prime|Vice|Mayor"
    "|Emeritus|Emerita|Pepper|Who|Right|Wrong|Perfect|Universe|World|The|And|Of|In|Is"
)
"""What stands behind a title and is nobody's name: Mr. President, Dr Pepper."""
ENGLISH_TITLES = ("Mr", "Ms", "Dr", "Prof")
FOLLOWS = r"(?![A-Za-z0-9])"
MISTER = re.compile(
    rf"(?<![A-Za-z0-9])(?:Mr|Mrs|Ms|Dr|Prof)\.? (?P<it>(?!(?:{NO_PERSON})\b)"
    rf"(?:{INITIAL} ?){{0,2}}{CAPITALISED}(?:[ -](?:{CAPITALISED}|{INITIAL})){{0,2}}){FOLLOWS}"
)
ENGLISH_LABELS = ("Name", "name", "Patient", "Attn")
NAMED = re.compile(
    rf"(?<![A-Za-z])(?:(?:[Ff]ull|[Yy]our|[Pp]atient|[Cc]ustomer|[Cc]ontact|[Ee]mployee) [Nn]ame"
    rf"|(?<![A-Za-z] )(?:Name|Patient|Attn))[:：] ?"
    rf"(?P<it>{CAPITALISED}(?:-{CAPITALISED})?(?: [A-Z]\.)? {CAPITALISED}(?:-{CAPITALISED})?){FOLLOWS}"
)

PROVINCES = (
    "北京|天津|上海|重庆|河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南|广东|海南|四川|贵州|云南|陕西|甘肃|青海"
    "|内蒙古|广西|西藏|宁夏|新疆"
)
CITIES = (
    "石家庄|唐山|保定|太原|呼和浩特|沈阳|大连|长春|哈尔滨|南京|无锡|徐州|常州|苏州|南通|扬州|杭州|宁波|温州|嘉兴|绍兴|金华|台州|合肥|芜湖"
    "|福州|厦门|泉州|南昌|济南|青岛|烟台|潍坊|临沂|郑州|洛阳|武汉|宜昌|长沙|株洲|广州|深圳|珠海|佛山|东莞|惠州|中山|南宁|桂林|海口|三亚"
    "|成都|绵阳|贵阳|遵义|昆明|拉萨|西安|兰州|西宁|银川|乌鲁木齐"
)
DIVISIONS = "省市区县镇乡州盟旗區縣鎮鄉"
NOT_IN_PLACES = f"{DIVISIONS}路街道巷弄号號栋幢的了是在和与或到从去有这那"
PLACE = _han_without(NOT_IN_PLACES)
DIVISION = rf"(?:(?:{CITIES})市|{HAN}{PLACE}{{0,6}}(?:自治[区州县旗]|新区|开发区|街道|[{DIVISIONS}]))"
COUNT = "[0-9A-Za-z一二三四五六七八九十百甲乙丙丁]{1,5}"
ROAD = (
    rf"{PLACE}{{1,8}}(?:[东西南北中]?(?:大街|大道|胡同|路|街|道|巷|弄|里|村|庄)(?:[东西南北中一二三四五六七八九十]{{1,2}}[路街巷段条])?)"
    r"[ ]?(?:[0-9]{1,5}(?:[-—之][0-9]{1,4})?|[一二三四五六七八九十百]{1,5})(?:号|號|弄)(?![线線码])"
)
ESTATE = (
    rf"{PLACE}{{1,10}}(?:小区|花园|花苑|家园|公寓|大厦|新村|苑|园|庭|府|城|里)(?:[东西南北一二三四五六七八九十][区里期])?"
    rf"[ ]?(?={COUNT}(?:号楼|栋|幢|座|单元|室))"
)
ROOM = rf"(?:[ ,，]?{PLACE}{{0,10}}?{COUNT}(?:[-—][0-9]{{1,5}}){{0,2}}(?:号楼|号院|栋|幢|座|单元|层|楼|室|户))"
BELOW = rf"(?:{DIVISION}[ ]?){{0,4}}"
PROVINCE_BEGINS = rf"(?:(?:{PROVINCES})(?:省|市|(?:壮族|回族|维吾尔)?自治区)?[ ]?|(?:{CITIES})市?[ ]?)"
HOUSE = rf"(?:{ROAD}{ROOM}{{0,4}}|{ESTATE}{ROOM}{{1,4}})(?:(?<=[元栋幢座楼])[0-9]{{2,5}}(?![0-9]))?"
CHINESE_ADDRESS = re.compile(rf"(?P<it>{PROVINCE_BEGINS}{BELOW}{HOUSE})")
HOME_LABELS = (
    *("地址", "住址", "住所", "户籍地", "户籍所在地", "所在地", "家住", "现住", "住在", "居住在", "居住于", "暂住于"),
    *("位于", "寄到", "寄往", "送到", "送往"),
)
LABELLED_ADDRESS = re.compile(rf"(?:{'|'.join(HOME_LABELS)})(?:为|是)?[:： ]?\s?(?P<it>{DIVISION}[ ]?{BELOW}{HOUSE})")
HOUSE_PIECES = ("号", "號", "弄", "栋", "幢", "座", "单元", "室")

STREET_WORDS = (
    *(
        "Street",
        "Avenue",
        "Road",
        "Boulevard",
        "Lane",
        "Drive",
        "Court",
        "Place",
        "Terrace",
        "Way",
        "Circle",
        "Parkway",
    ),
    *("Square", "Close", "Crescent", "Gardens", "Grove", "Hill", "Mews", "Row", "Walk", "Broadway"),
)
SHORT_STREET_WORDS = ("St", "Ave", "Rd", "Blvd", "Ln", "Dr", "Ct", "Pl", "Pkwy")
QUARTER = r"(?:N|S|E|W|NE|NW|SE|SW|North|South|East|West)\.?"
STREET_NAME = rf"(?:(?:{CAPITALISED}(?:['’]s)?|St\.|[0-9]{{1,3}}(?:st|nd|rd|th)) ){{1,3}}"
NUMBERED_STREET = (
    rf"[0-9]{{1,5}}[A-Za-z]?(?:-[0-9]{{1,5}})? (?:{QUARTER} )?(?:Broadway\b|{STREET_NAME}"
    rf"(?:(?:{'|'.join(STREET_WORDS)})\b|(?:{'|'.join(SHORT_STREET_WORDS)})\b\.?)(?: {QUARTER}(?![A-Za-z]))?)"
)
STREET_PIECES = (*STREET_WORDS, *SHORT_STREET_WORDS)
UNIT = r"(?:(?:Apartment|Apt|Suite|Ste|Unit|Flat|Room|Floor)\.? ?#?[0-9A-Za-z-]{1,6}|# ?[0-9A-Za-z-]{1,6})"
STATES = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|DC|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|ND|OH|OK|OR|PA|RI|SC|SD"
    "|TN|TX|UT|VT|VA|WA|WV|WI|WY"
)
TOWN = rf"(?:(?:St\. )?{CAPITALISED}(?:[ -](?:upon|on|of|the|{CAPITALISED})){{0,3}})"
POSTCODE = r"(?:[A-Z]{1,2}[0-9][0-9A-Z]? [0-9][A-Z]{2})"
PLACE_IN_STATE = rf"(?:,?\s{TOWN},?\s(?:{STATES})(?:\s[0-9]{{5}}(?:-[0-9]{{4}})?)?(?![0-9A-Za-z]))"
PLACE_IN_KINGDOM = rf"(?:(?:,?\s{TOWN}){{0,2}},?\s{POSTCODE}(?![0-9A-Za-z]))"
ELSEWHERE = rf"(?:{PLACE_IN_STATE}|{PLACE_IN_KINGDOM})"
ENGLISH_ADDRESS = re.compile(
    rf"(?<![0-9A-Za-z.,$£€-])(?P<it>(?:{UNIT},? )?{NUMBERED_STREET}(?:(?:,? {UNIT}){ELSEWHERE}?|{ELSEWHERE}))"
)
LIVING = (
    r"(?:[Aa]ddress(?:: ?| is )|\b(?:[Ll]iv(?:es?|ed|ing)|[Rr]esid(?:es?|ed|ing)|[Ss]hip(?:ped)?|[Dd]eliver(?:ed)?"
    r"|[Mm]ail(?:ed)?) (?:at|to) )"
)
LABELLED_ENGLISH_ADDRESS = re.compile(
    rf"{LIVING}(?P<it>(?:{UNIT},? )?{NUMBERED_STREET}(?:,? {UNIT})?(?:{ELSEWHERE}|, {TOWN}\b)?)"
)

"""Numbers that lead to a person, as people write them: in groups, with prefixes, beside other numbers.

In: nothing. Out: patterns of identity numbers, credit codes, cards, phones and IP addresses, and for each the function
that says whether what it found is genuine. Called by `privacy`, which brings full-width digits and letters to ASCII
first. Every pattern takes a bounded number of steps at each place: repeats are possessive or of fixed length. Sources:
E.164 and the national numbering plans behind it, ISO/IEC 7812 (cards), GB 11643 and GB 32100 by way of `checks`.
"""

from __future__ import annotations

import re

from danlu.corpus.checks import has_phone_length, is_card, is_credit_code, is_identity_number

GAP = r"[ .\u3000\u2010-\u2014-]"
"""What people set between the groups of a number: a blank, a dot, a hyphen or a dash."""
BREAK = r"[ \u3000\u2010-\u2014-]"
"""The same between two groups only, where a dot would make a decimal."""
GAPS = " .\u3000\u2010\u2011\u2012\u2013\u2014-()（）"
SPACING = dict.fromkeys(map(ord, GAPS))
ENDS = r"(?![0-9A-Za-z])"
LINE_END = r"(?<=\\[nrt])"
"""Behind a line end or a tab that JSON spells out, whose letter is of no word."""
NO_WORD = rf"(?:(?<![0-9A-Za-z])|{LINE_END})"
STARTS = rf"{NO_WORD}(?<![0-9][.-])"
"""Not within a word, a decimal or a longer number."""
NUMBER = re.compile(rf"[0-9](?:(?:{GAP}|[()（）]){{0,3}}+[0-9]){{5,}}+")
ORDER = re.compile(
    r"(?:单号|單號|编号|編號|流水号|条码|条形码|批号|型号"
    rf"|{NO_WORD}(?i:order|tracking|invoice|serial|isbn|ean|upc|sku|batch|imei|waybill)"
    r"(?i:[ _-]?(?:no\.?|number|id|code))?)"
    r"(?:为|是)?[\"'\s:：#=]{0,4}\Z"
)
"""What stands before a number of goods, of which one in ten passes for a card."""
VERSION = re.compile(rf"(?:{NO_WORD}(?i:version|ver|release|firmware|build|v)\.?|版本号?|固件)[\"'\s:：=]{{0,3}}\Z")
"""What stands before a version in four parts."""

IDENTITY_NUMBER = re.compile(
    rf"(?<![0-9])(?<![0-9][A-Za-z])(?<![0-9][.-])[1-9](?:{GAP}?+[0-9]){{16}}{GAP}?+[0-9Xx]{ENDS}"
)
"""Letters may stand before it (ID1101…): province, day and check digit are proof enough."""
SIGN = "[0-9A-HJ-NPQRTUWXYa-hj-npqrtuwxy]"
CREDIT_CODE = re.compile(
    rf"{STARTS}(?:[1-9ANYany][1-59]{GAP}?+[0-9]{{6}}{GAP}?+{SIGN}{{9}}{GAP}?+{SIGN}"
    rf"|[1-9ANYany][1-59][0-9]{{2}}{GAP}[0-9]{{4}}{GAP}{SIGN}{{4}}{GAP}{SIGN}{{4}}{GAP}{SIGN}{{2}}){ENDS}"
)
CARD = re.compile(rf"(?<!\+){STARTS}[2-689][0-9]{{3,18}}+{ENDS}(?:{GAP}{{1,3}}+[0-9]{{1,13}}+{ENDS}){{0,5}}+")
CARD_GROUPS = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 3, 3, 3), (6, 10), (6, 12), (6, 13), (8, 8)}
CARD_GROUPS |= {(*(4,) * fours, rest) for fours in (3, 4) for rest in (1, 2, 3)}
"""How cards and their holders group the digits."""

MOBILE = r"1(?:3[0-9]|4[014-9]|5[0-35-9]|6[2567]|7[0-8]|8[0-9]|9[0-35-9])"
"""The beginnings that the ministry has given to mobile phones."""
FILE_ENDS = (
    "html?|php|aspx?|jspx?|jsx?|tsx|css|scss|less|json|xml|ya?ml|toml|csv|txt|log|pdf|docx?|xlsx?|pptx?|epub|zip|rar|gz|tar"
    "|exe|dll|apk|jpe?g|png|gif|webp|bmp|svg|ico|tiff?|mp[34]|avi|mov|wav"
)
LABELLED = r"(?i:(?<=tel)|(?<=mob)|(?<=fax)|(?<=cell)|(?<=phone)|(?<=mobile)|(?<=wechat)|(?<=weixin)|(?<=wx)|(?<=vx))"
"""Words that stand right before a phone's first digit."""
PHONE = re.compile(
    rf"(?:{STARTS}|{LABELLED})(?:(?:[(（](?:\+|00)?86[)）]|(?:\+|00)?86){GAP}{{0,3}}+|0)?{MOBILE}"
    rf"(?:[0-9]{{8}}|{GAP}{{1,3}}+[0-9]{{4}}{GAP}{{1,3}}+[0-9]{{4}}"
    rf"|[0-9]{GAP}{{1,3}}+[0-9]{{3}}{GAP}{{1,3}}+[0-9]{{4}}"
    rf"|(?:{BREAK}{{1,3}}+[0-9]{{8}}|[0-9]{{4}}{BREAK}{{1,3}}+[0-9]{{4}}|[0-9]{{2}}{BREAK}{{1,3}}+[0-9]{{6}})){ENDS}"
    rf"(?!\.[0-9]{{2,9}}+(?![0-9.]))(?!\.(?:{FILE_ENDS}){ENDS})"
)
OPEN, CLOSE = "[(（]", "[)）]"
INTERNATIONAL = re.compile(  # Hong Kong and Macau; any with its country's code
    rf"(?<!\+){STARTS}(?:(?:\+|00)?85[23]{GAP}{{0,2}}+[2-9][0-9]{{3}}{GAP}?+[0-9]{{4}}{ENDS}"
    rf"|(?:(?:\+|00(?=886))(?:{OPEN}[1-9][0-9]{{0,2}}+{CLOSE}|[1-9][0-9]{{0,14}}+{ENDS})"
    rf"|{OPEN}(?:\+|00)[1-9][0-9]{{0,2}}+{CLOSE})"
    rf"(?:(?:{GAP}{{1,2}}+|(?={OPEN})|(?<={CLOSE}))(?:{OPEN}[0-9]{{1,4}}+{CLOSE}{GAP}?+)?[0-9]{{1,12}}+{ENDS}){{0,6}}+)"
)
NATIONAL = re.compile(  # mainland, fixed; Taiwan, mobile and fixed; North America
    rf"(?<!\+)(?:{STARTS}|{LABELLED})(?:"
    rf"(?:{OPEN}0[1-9][0-9]{{1,2}}{CLOSE}{GAP}?+|0(?:10|2[0-9]|[3-9][0-9]{{2}}){GAP}{{1,3}}+)[2-8][0-9]{{2,3}}{GAP}?+[0-9]{{4}}"
    r"|0(?:10|2[0-57-9])[2-8][0-9]{7}"
    rf"|09[0-9]{{2}}(?:[0-9]{{6}}|{GAP}[0-9]{{3}}{GAP}[0-9]{{3}})"
    rf"|{OPEN}0[2-8]{CLOSE}{GAP}?+[0-9]{{3,4}}-[0-9]{{4}}"
    rf"|(?:1[ .-])?(?:{OPEN}[2-9][0-9]{{2}}{CLOSE} ?|[2-9][0-9]{{2}}[-.])[2-9][0-9]{{2}}[-.][0-9]{{4}}"
    rf"){ENDS}"
)

IPV4 = re.compile(
    rf"{NO_WORD}(?<![0-9A-Za-z]\.)(?<![A-Za-z]-)(?:[0-9]{{1,3}}+\.){{3}}[0-9]{{1,3}}(?!\.?[0-9]|[A-Za-z])"
    r"(?!-(?:[A-Za-z]|[0-9]{1,9}+(?!\.)))"
)
"""Behind a hyphen it may be the second of a range, but 1.2.3.4-beta and 1.2.3.4-1 are versions."""
IPV6 = re.compile(
    rf"{NO_WORD}(?<![0-9A-Za-z][.-])(?:(?<!:)|(?<=[g-zG-Z]:)|(?<=[g-zG-Z].:)|(?<=[g-zG-Z]..:))"
    r"[23][0-9a-fA-F]{3}(?:::?[0-9a-fA-F]{1,4}+){1,7}+(?:::)?(?!\.?[0-9]|[A-Za-z]|:[0-9A-Za-z])"
)
"""Public ones begin with 2 or 3 (RFC 4291); behind a colon only where that follows a word, not another group."""


def plain(number: str) -> str:
    """The number without what sets its groups apart and the (0) that is dialled at home only; letters in capitals."""
    return number.replace("(0)", "").translate(SPACING).upper()


def is_written_identity_number(number: str) -> bool:
    """`is_identity_number` of a number in any grouping."""
    return is_identity_number(plain(number))


def is_written_credit_code(code: str) -> bool:
    """`is_credit_code` of a code in any grouping, in capitals or not."""
    return is_credit_code(plain(code))


def is_written_card(number: str) -> bool:
    """`is_card` of a number in one piece or in groups in which cards are written."""
    groups = tuple(map(len, re.findall("[0-9]+", number)))
    if groups == (13,) or (len(groups) == 2 and "." in number):
        return False  # a code of goods, for cards of 13 digits are not given out any more; a decimal
    return (len(groups) == 1 or groups in CARD_GROUPS) and is_card(plain(number))


def is_written_mobile(number: str) -> bool:
    """False for three cells of a table: 138 2001 2002 are years, 150 1200 1300 are round."""
    groups = re.findall("[0-9]+", number)
    if "-" in number or [len(group) for group in groups[-3:]] != [3, 4, 4]:
        return True
    cells = groups[-2:]
    return not (all(cell[:2] in ("19", "20") for cell in cells) or all(cell.endswith("00") for cell in cells))


def is_written_phone(number: str) -> bool:
    """`has_phone_length` of a number in any grouping; what follows one that is long without a gap is not of it."""
    groups = re.findall("[0-9]+", number)
    if len(groups) > 1 and (len(groups[0]) >= 9 or ("." in number and len(groups) == 2 and len(groups[1]) < 8)):
        return False  # a decimal
    return has_phone_length(plain(number))


def without_last_group(number: str) -> str:
    """`4111 1111 12` -> `4111 1111`; empty where there is one group only."""
    shorter = number.rstrip("()（）").rstrip("0123456789")
    return shorter.rstrip(GAPS) if re.search("[0-9]", shorter) else ""

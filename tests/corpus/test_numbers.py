"""Numbers as people write them, and numbers that only look like them: all kinds are looked for at once."""

from typing import get_args

import pytest

from danlu.corpus import numbers
from danlu.corpus.privacy import KindName, Privacy

EVERYTHING = Privacy(get_args(KindName))


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("110105 19491231 002X", "[ID]"),
        ("身份证110105-1949-1231-002x。", "身份证[ID]。"),
        ("１１０１０５１９４９１２３１００２Ｘ", "[ID]"),
        ("ID11010519491231002X 13812345678", "ID[ID] [PHONE]"),
        ("12 110105 19491231 002X 2024 01", "12 [ID] 2024 01"),
        ('{"id": "11010519491231002X"}', '{"id": "[ID]"}'),
        ("９１３５０１００Ｍ０００１００Ｙ４３", "[CREDIT_CODE]"),
        ("91350100-M000100Y4-3 或 91350100m000100y43", "[CREDIT_CODE] 或 [CREDIT_CODE]"),
    ],
)
def test_numbers_of_the_state(text, hidden):
    assert EVERYTHING.hide(text).text == hidden


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("4111 1111 1111 1111 12/27", "[CARD] 12/27"),
        ("4111 1111 1111 1111 123", "[CARD] 123"),
        ("4111 1111 1111 1111 20th", "[CARD] 20th"),
        ("4111111111111111 123", "[CARD] 123"),
        ("12 4111 1111 1111 1111", "12 [CARD]"),
        ("4111 1111 1111 1111 5500 0000 0000 0004 3", "[CARD] [CARD] 3"),
        ("3782 822463 10005 and 3714-496353-98431", "[CARD] and [CARD]"),
        ("622202 1234567890128", "[CARD]"),
        ("622202123456789012", "[CARD]"),  # eighteen digits
        ("工行9558801234567890128", "工行[CARD]"),
        ("４１１１　１１１１　１１１１　１１１１", "[CARD]"),
        ("4000 5000 6000 7000 is a row", "4000 5000 6000 7000 is a row"),
        ("4111 11111 111 1111 is no grouping", "4111 11111 111 1111 is no grouping"),
        ("订单号：4111111111111111", "订单号：4111111111111111"),
        ("order no. 4111111111111111", "order no. 4111111111111111"),
        ("0.4111111111111111", "0.4111111111111111"),
        ("4006381333931", "4006381333931"),  # a code of goods
    ],
)
def test_cards(text, hidden):
    assert EVERYTHING.hide(text).text == hidden


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("8613812345678", "[PHONE]"),
        ("Tel.13812345678, Tel13812345678, phone:13812345678", "Tel.[PHONE], Tel[PHONE], phone:[PHONE]"),
        ("138 12345678, 1381234 5678, 138.1234.5678", "[PHONE], [PHONE], [PHONE]"),
        ("138–1234–5678, 138 - 1234 - 5678", "[PHONE], [PHONE]"),
        ("（+86）138 1234 5678, 0086 13812345678, 86-138-1234-5678", "[PHONE], [PHONE], [PHONE]"),
        ("1.张三13812345678.2.李四13912345678", "1.张三[PHONE].2.李四[PHONE]"),
        (r'"电话\n13812345678"', r'"电话\n[PHONE]"'),
        ("168 2001 2002", "168 2001 2002"),  # no phone begins with 168
        ("138 2001 2002", "138 2001 2002"),
        ("150 1200 1300", "150 1200 1300"),
        ("/13812345678.html", "/13812345678.html"),
        ("12345678901, 20240113812345678, 13812345678901", "12345678901, 20240113812345678, 13812345678901"),
        ("13812345678.50 and 3.13812345678", "13812345678.50 and 3.13812345678"),
        ("14139.379665, 138.12345678 and +21.1234567", "14139.379665, 138.12345678 and +21.1234567"),
        ("+852.91234567", "[PHONE]"),
        ("ISBN 13812345678", "ISBN 13812345678"),
        ("call +1 415 555 2671 200 300", "call [PHONE] 200 300"),
        ("+44 (0)20 7946 0958, +86 (10) 6234 5678, 1-415-555-2671", "[PHONE], [PHONE], [PHONE]"),
        ("电话（010）62345678 或 01062345678", "电话[PHONE] 或 [PHONE]"),
        ("Tel.010-62345678", "Tel.[PHONE]"),
        ("（+8613812345678）, (+4930901820), +81-3-3456-7890", "（[PHONE]）, ([PHONE]), [PHONE]"),
        ("（+852）9123 4567, +(44) 20 7946 0958, +4930123456 200", "[PHONE], [PHONE], [PHONE] 200"),
        ("+10 000 000 and +2000000", "+10 000 000 and +2000000"),
        ("978-7-302-51260-8 of 2024-01-02", "978-7-302-51260-8 of 2024-01-02"),
    ],
)
def test_phones(text, hidden):
    assert EVERYTHING.hide(text).text == hidden


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("IP：8.8.8.8, IP:8.8.8.8, 8.8.8.8:80", "IP：[IP], IP:[IP], [IP]:80"),
        ("http://8.8.8.8/x, 8.8.8.8/24, 8.8.8.8-8.8.4.4", "http://[IP]/x, [IP]/24, [IP]-[IP]"),
        ("IP:2001:4860:4860::8888, mac:2001:4860:4860::8888", "IP:[IP], mac:[IP]"),
        ("http://[2001:4860:4860::8888]:443/", "http://[[IP]]:443/"),
        ("2001:4860:4860::8888: up", "[IP]: up"),
        ("version 8.8.8.8, v8.8.8.8, 版本：8.8.8.8", "version 8.8.8.8, v8.8.8.8, 版本：8.8.8.8"),
        ("app-8.8.8.8, 8.8.8.8-beta, 8.8.8.8-1, 8.8.8.8.8", "app-8.8.8.8, 8.8.8.8-beta, 8.8.8.8-1, 8.8.8.8.8"),
        ("2023:12:31:10:20, ab:2001:4860:4860::8888", "2023:12:31:10:20, ab:2001:4860:4860::8888"),
    ],
)
def test_ip_addresses(text, hidden):
    assert EVERYTHING.hide(text).text == hidden


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("邮箱ｕｓｅｒ＠ｑｑ．ｃｏｍ。", "邮箱[EMAIL]。"),
        ("abc@qq.com--张三, abc@qq.com-", "[EMAIL]--张三, [EMAIL]-"),
        ("E-mail:a.b+c@163.com;", "E-mail:[EMAIL];"),
        ("icon@2x.png, photo@home.jpeg", "icon@2x.png, photo@home.jpeg"),
        ("git clone git@github.com:owner/repository.git", "git clone git@github.com:owner/repository.git"),
        ("lodash@4.17.21-beta.rc, @babel/core, @app.route", "lodash@4.17.21-beta.rc, @babel/core, @app.route"),
    ],
)
def test_addresses_of_mail(text, hidden):
    assert EVERYTHING.hide(text).text == hidden


def test_groups_are_given_back_one_by_one():
    assert numbers.without_last_group("4111 1111 12") == "4111 1111"
    assert numbers.without_last_group("4111") == ""

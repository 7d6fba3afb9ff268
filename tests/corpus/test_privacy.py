"""Private data and secrets: each kind found and not more, hidden in three ways, places that map back."""

import re
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from danlu.base.records import Document
from danlu.corpus.checks import has_phone_length, is_card, is_credit_code, is_identity_number
from danlu.corpus.clean import Cleaner
from danlu.corpus.privacy import FORMS, MARKS, TO_HALF_WIDTH, USUAL, KindName, Privacy
from danlu.corpus.units import Rejection
from tests.proofs.private_samples import samples

EVERYTHING = Privacy(get_args(KindName))
PERSONS = ("address", "name")
KEY = "sk-" + "a1B2c3D4e5" * 3
PRIVATE_KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"


def test_check_digits_decide():
    assert is_identity_number("11010519491231002X")
    assert not is_identity_number("110105194912310021")
    assert not is_identity_number("11010519490231002X")  # no such day
    assert not is_identity_number("99010519491231002X")  # no such province
    assert is_credit_code("91350100M000100Y43")  # the example of the standard
    assert not is_credit_code("91350100M000100Y44")
    assert not is_credit_code("91990100M000100Y43")
    assert is_card("4111111111111111")
    assert not is_card("4111111111111112")
    assert not is_card("9111111111111111")
    assert is_card("9558801234567890128")  # of a bank
    assert is_card("622202123456789012")  # of eighteen digits
    assert has_phone_length("+14155552671")
    assert not has_phone_length("+14155552671200")
    assert has_phone_length("00886912345678")
    assert not has_phone_length("+2000000")


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("税号91350100M000100Y43。", "税号[CREDIT_CODE]。"),
        ("卡号 6222 0212 3456 7890 128，6222 0212 3456 7890 127", "卡号 [CARD]，6222 0212 3456 7890 127"),
        ("card 4111-1111-1111-1111.", "card [CARD]."),
        ("card 4111111111111112", "card 4111111111111112"),
        ("手机１３８１２３４５６７８。", "手机[PHONE]。"),
        ("座机 010-62345678 转 12", "座机 [PHONE] 转 12"),
        ("(0755) 8234-5678", "[PHONE]"),
        ("香港 +852 9123 4567", "香港 [PHONE]"),
        ("台湾 0912-345-678 和 +886 912 345 678", "台湾 [PHONE] 和 [PHONE]"),
        ("税号N2320481MF123456XP。", "税号[CREDIT_CODE]。"),  # of a village: seven digits in a row
        ("call 415.555.2671 or +1.415.555.2671 now", "call [PHONE] or [PHONE] now"),
        ("call (415) 555-2671 or +44 20 7946 0958", "call [PHONE] or [PHONE]"),
        ("in 1998-2004, 00101001 and 3.14159265358979", "in 1998-2004, 00101001 and 3.14159265358979"),
        ("13812345678@qq.com", "[EMAIL]"),
        ("from 8.8.8.8 and 2001:4860:4860::8888", "from [IP] and [IP]"),
        ("127.0.0.1, 192.168.1.1, 1.2.3, 300.1.1.1, 12:34:56", "127.0.0.1, 192.168.1.1, 1.2.3, 300.1.1.1, 12:34:56"),
        (f"key: {KEY}", "key: [KEY]"),
        ("AKIAIOSFODNN7EXAMPLE", "[KEY]"),
        ('api_key = "q8Zr2LmX0pTw"', 'api_key = "[KEY]"'),
        ('apiKey: "q8Zr2LmX0pTw"', 'apiKey: "[KEY]"'),
        ("ACCESS_KEY=q8Zr2LmX0pTw, auth_key: q8Zr2LmX0pTw", "ACCESS_KEY=[KEY], auth_key: [KEY]"),
        ("accessKey=q8Zr2LmX0pTw", "accessKey=[KEY]"),
        ("密码：q8Zr2LmX0pTw", "密码：[KEY]"),
        ("password: something", "password: something"),
        (f"see\n{PRIVATE_KEY}\nend", "see\n[PRIVATE_KEY]\nend"),
        ("联系人：欧阳明，王小明先生说", "联系人：[NAME]，[NAME]先生说"),
        ("Dr. Jane Smith met Mr Brown.", "Dr. [NAME] met Mr [NAME]."),
        ("我姓王，先生贵姓？", "我姓王，先生贵姓？"),
    ],
)
def test_each_kind_is_found_and_not_more(text, hidden):
    assert EVERYTHING.hide(text).text == hidden


@pytest.mark.parametrize("form", [one for one in FORMS if one.kind in PERSONS], ids=lambda form: form.kind)
def test_a_glance_hides_nothing_that_the_pattern_finds(form):
    """Whatever a form's pattern matches, seen at a glance or searched, is found alike."""

    @settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
    @given(st.from_regex(form.pattern))
    def holds(text):
        text = text.translate(TO_HALF_WIDTH)
        assert found_at_a_glance(form, text) == found_by_search(form, text)

    holds()


@pytest.mark.parametrize("form", [one for one in FORMS if one.kind not in PERSONS], ids=lambda form: form.kind)
def test_a_glance_hides_nothing_of_what_people_write(form):
    """Numbers, addresses and keys in all spellings, in capitals and not, are found by the glance and by the search."""
    texts = [sample.text for sample in samples(seed=4, of_each=5)]
    for text in (*texts, *map(str.upper, texts), *map(str.title, texts)):
        assert found_at_a_glance(form, text) == found_by_search(form, text)


def found_at_a_glance(form, text):
    privacy = Privacy((form.kind,))
    privacy.forms = (form,)
    return privacy.find(text)


def found_by_search(form, text):
    return found_at_a_glance(replace(form, digits=0, pieces=(), glance=lambda text: True), text)


def test_what_a_served_model_must_not_say_is_usual_and_other_kinds_are_named():
    text = f"{KEY} 8.8.8.8 4111111111111111 13812345678 010-62345678"
    assert Privacy().hide(text).text == "[KEY] 8.8.8.8 [CARD] [PHONE] 010-62345678"
    assert set(get_args(KindName)) - set(USUAL) == {"other_phone", "ip_address", "address", "name"}
    assert Privacy(("card",)).hide(text).counts() == {"card": 1}
    assert Privacy(action="keep").hide(text).text == text


def test_pseudonyms_are_equal_for_equal_data_and_need_the_key():
    one = Privacy(action="pseudonym", key=b"k" * 32)
    spelled = ("138 1234 5678", "+8613812345678", "１３８－１２３４－５６７８", "8613812345678", "13912345678")
    first, second, third, fourth, other = (one.hide(text).text for text in spelled)
    assert first == third == fourth
    assert one.hide("110105 19491231 002x").text == one.hide("11010519491231002X").text
    assert re.fullmatch(r"\[PHONE-[0-9a-f]{12}\]", first)
    assert first == second != other
    assert Privacy(action="pseudonym", key=b"x" * 32).hide("13812345678").text != first


def test_drop_rejects_the_record_and_writes_nothing_private():
    result = Cleaner(privacy=Privacy(action="drop")).clean(Document("1", "我的电话是13812345678，请打给我。", "f"))
    assert isinstance(result, Rejection)
    assert (result.reason, result.detail) == ("private", "1 phone")
    assert "138" not in result.excerpt


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=12),
            st.sampled_from(
                ["13812345678", " 8.8.8.8 ", "a@b.cn", "王伟先生", "姓名：李雷", KEY, "4111111111111111", "１"]
            ),
        ),
        max_size=8,
    ).map("".join),
    st.sampled_from(["mask", "pseudonym"]),
)
def test_every_hidden_place_maps_back(text, action):
    hidden = Privacy(get_args(KindName), action, b"k" * 32).hide(text)
    assert hidden.with_originals(text) == text
    for one, (start, end) in zip(hidden.found, hidden.places, strict=True):
        assert hidden.text[start:end].startswith(f"[{MARKS[one.kind]}")
        assert hidden.text[start:end].endswith("]")

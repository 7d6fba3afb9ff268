"""Sets of characters: exactly those of their categories, and no selector of looks among the marks."""

import re
import unicodedata

from danlu.base.characters import LAST, ranges


def test_a_set_holds_the_characters_of_its_categories_and_no_others():
    for categories in (("P", "Z"), ("S",), ("Mn", "Mc")):
        pattern = re.compile(f"[{ranges(*categories)}]")
        for code in range(LAST):
            character = chr(code)
            wanted = unicodedata.category(character).startswith(categories) and not 0xFE00 <= code <= 0xFE0F
            assert bool(pattern.match(character)) == wanted, hex(code)

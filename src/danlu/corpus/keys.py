"""What opens a door, as patterns: private keys, keys of known forms, and what stands beside a name such as password.

In: nothing. Out: patterns, of which the group `it` is the datum, and for each what tells a secret from an example or
from a line of a program. Called by `privacy`. A secret has no greatest length: none keeps its tail in clear. Repeats
without an end are possessive and stop where the next secret could begin, so that the work grows with the text alone.
Sources: the forms that providers publish for secret scanning; RFC 7468 and RFC 4880 (armour of keys).
"""

from __future__ import annotations

import re

BEGIN = r"-{4,5} ?BEGIN (?:[A-Z0-9]{1,20}+ ){0,4}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
END = BEGIN.replace("BEGIN", "END")
LINES = r"(?:\s*+(?:[A-Za-z][A-Za-z-]{1,20}+: [^\n\\]{1,200}+|(?:\\[nr])*+[0-9A-Za-z+/=]{16,}+))*+"
PRIVATE_KEY = re.compile(
    rf"{BEGIN}(?:[^-]*+(?:-(?!--{{2,3}} ?(?:BEGIN|END) )[^-]*+)*+{END}|{LINES})",
)
"""From beginning to end; where the end was cut off, as far as the lines look like a key's."""
ENCODED = re.compile(r"[0-9A-Za-z+/=]{16,}+")

KNOWN_KEY = re.compile(
    r"(?:(?<![0-9A-Za-z_-])|(?<=\\[nrt]))(?:(?:(?:AKIA|ASIA)[0-9A-Z]{16}|LTAI[0-9A-Za-z]{12,24}+|AKID[0-9A-Za-z]{13,40}+"
    r"|AIza[0-9A-Za-z_-]{35}|npm_[0-9A-Za-z]{36})(?![0-9A-Za-z_-])"
    r"|sk-[0-9A-Za-z_-]{20,}+|gh[opsur]_[0-9A-Za-z]{36,}+|github_pat_[0-9A-Za-z_]{22,}+|glpat-[0-9A-Za-z_-]{20,}+"
    r"|xox[abeprs]-[0-9A-Za-z-]{10,}+|xapp-[0-9A-Za-z-]{20,}+|hf_[0-9A-Za-z]{30,}+|[rs]k_(?:live|test)_[0-9A-Za-z]{16,}+"
    r"|whsec_[0-9A-Za-z+/=]{24,}+|dop_v1_[0-9a-f]{64}|pypi-[0-9A-Za-z_-]{60,}+|ya29\.[0-9A-Za-z_-]{30,}+"
    r"|SG\.[0-9A-Za-z_-]{16,}+\.[0-9A-Za-z_-]{30,}+"
    r"|eyJ[0-9A-Za-z_-]{8,}+\.eyJ[0-9A-Za-z_-]{8,}+\.[0-9A-Za-z_-]{8,}+)"
)
KEY_PIECES = {
    "-": ("sk-", "glpat-", "xox", "xapp-", "pypi-"),
    "_": (
        *("ghp_", "gho_", "ghs_", "ghu_", "ghr_", "github_pat_", "hf_", "npm_"),
        *("k_live_", "k_test_", "whsec_", "dop_v1_"),
    ),
    "": ("AKI", "ASIA", "LTAI", "AIza", "ya29.", "SG.", "eyJ"),
}
"""A sign -> the beginnings that hold it."""

HOLDERS = (
    *("api", "app", "access", "secret", "auth", "private", "encryption", "encrypt", "signing", "sign", "account"),
    *("storage", "master", "client", "session", "service", "subscription", "consumer", "shared", "aes", "hmac", "jwt"),
)
HOLDS = "|".join(f"(?<={holder}key)|(?<={holder}[_ .-]key)" for holder in HOLDERS)
ENGLISH = ("key", "secret", "password", "passwd", "passphrase", "pwd", "token", "credential")
CHINESE = ("密码", "密碼", "口令", "密钥", "密鑰", "秘钥", "私钥", "令牌", "授权码")
BEHIND = r"(?i:[_-]?(?:base|value|string|[0-9]{1,2}))?+[\\\"'`\])]{0,3}+\s{0,3}+"
SAYS = r"(?::=|=>|==?+|[:：＝]|是|为|為|(?<=\s)is(?=\s))"
SPOKEN = {word: re.compile(word + BEHIND + SAYS) for word in ENGLISH}
INNER = r"[^\s\"'`,;&<>\\.!?:)\]}\x7f-\U0010ffff]"
WORD = rf"{INNER}++(?:[.!?:)\]}}]++{INNER}++)*+"
"""A word of ASCII that neither a quote nor a comma ends; signs that end a sentence are of it only within."""
VALUE = rf"\s{{0,3}}+(?:\\?(?P<quote>[\"'`]))?(?P<it>(?(quote)[^\s\\\"'`]++|{WORD}))"
NAMED_SECRET = re.compile(
    rf"[KkSsPpTtCc](?i:(?<=k)ey(?:{HOLDS})|(?<=s)ecret|(?<=p)(?:assw(?:or)?d|assphrase|wd)|(?<=t)oken|(?<=c)redential)"
    + BEHIND
    + SAYS
    + VALUE
)
"""A name may end in such a word, as DB_PASSWORD and AppSecret do; `key` alone names too much else."""
CHINESE_SECRET = re.compile(
    rf"(?:{'|'.join(CHINESE)})[\"'`\])）]{{0,2}}+\s{{0,3}}+(?:{SAYS}|(?=[0-9A-Za-z])){VALUE}",
)
BEARER = re.compile(rf"(?:[Bb]earer|Basic) {{1,3}}+(?P<it>{WORD})")
IN_ADDRESS = re.compile(r"://[^\s:/@\"'<>]{1,64}+:(?P<it>[^\s/@\"'<>]{3,}+)@")
"""https://name:password@host"""
NO_VALUE = re.compile(r"[$][A-Za-z_{(]|[{(\[]|%[sd(]|[A-Za-z_][\w.]*+[(\[]|(?:process|os|self|this|config|settings)\.")
"""How a value begins that a program fetches from elsewhere: ${NAME}, os.environ[…], read_key2(…)."""


def may_hold_a_known_key(text: str) -> bool:
    """Whether the beginning of a key of a known form is in a text."""
    for sign, pieces in KEY_PIECES.items():
        if sign in text:
            for piece in pieces:
                if piece in text:
                    return True
    return False


def may_name_a_secret(text: str) -> bool:
    """Whether a secret's name may be in a text, in any case: `casefold` goes at least as far as `(?i:...)` does."""
    folded = text.casefold()
    return any(word in folded and spoken.search(folded) for word, spoken in SPOKEN.items())


def is_key_body(armour: str) -> bool:
    """True where most of what stands between beginning and end is a key, not words about one."""
    lines = re.sub(f"{BEGIN}|{END}", "", armour)
    return 2 * sum(len(one[0]) for one in ENCODED.finditer(lines)) >= len("".join(lines.split())) > 0


def is_secret(word: str) -> bool:
    """True for eight characters or more, letters and digits mixed as no word mixes them, and no line of a program."""
    return (
        len(word) >= 8
        and len(set(word)) >= 6
        and any(map(str.isdigit, word))
        and any(map(str.isalpha, word))
        and not NO_VALUE.match(word)
    )


def is_password(word: str) -> bool:
    """True for what stands between name and host of an address, unless a program puts it there."""
    return not NO_VALUE.match(word)

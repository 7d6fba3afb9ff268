"""Secrets by their form and by the name beside them; what programs fetch from elsewhere and words stay."""

import pytest

from danlu.corpus.privacy import Privacy

KEY = "q8Zr2LmX0pTw"
LONG = "a1B2c3D4e5" * 40
BODY = "\n".join(["lQOYBF9kZ0UBCADCq3Zr2LmX0pTwAb12"] * 3)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCY", "AWS_SECRET_ACCESS_KEY=[KEY]"),
        (f"export OPENAI_API_KEY={KEY}\nDB_PASSWORD={KEY}", "export OPENAI_API_KEY=[KEY]\nDB_PASSWORD=[KEY]"),
        (f"client_secret: {KEY}\nAppSecret={KEY}", "client_secret: [KEY]\nAppSecret=[KEY]"),
        (f'{{"clientSecret": "{KEY}", "a": 1}}', '{"clientSecret": "[KEY]", "a": 1}'),
        (rf"{{\"token\": \"{KEY}\"}}", r"{\"token\": \"[KEY]\"}"),
        (f"AccountKey={KEY};EndpointSuffix=x", "AccountKey=[KEY];EndpointSuffix=x"),
        (f"SECRET_KEY_BASE: {KEY}", "SECRET_KEY_BASE: [KEY]"),
        ("密码是abc12345", "密码是[KEY]"),
        ("账号admin密码abc12345。", "账号admin密码[KEY]。"),
        (f"密钥：{KEY}，口令＝{KEY}；秘钥为 {KEY}", "密钥：[KEY]，口令＝[KEY]；秘钥为 [KEY]"),
        ("密码：ａｂｃ１２３４５", "密码：[KEY]"),
        ("the password is abc12345.", "the password is [KEY]."),
        (f"password := '{KEY}!'", "password := '[KEY]'"),
        (f"api_key={LONG} x", "api_key=[KEY] x"),
        (f"sk-{LONG} ghp_{LONG}", "[KEY] [KEY]"),
        (f"Authorization: Bearer {LONG}", "Authorization: Bearer [KEY]"),
        ("postgres://admin:s3cret@db.example/x", "postgres://admin:[KEY]@db.example/x"),
        (f"https://h/?token={KEY}&page=2", "https://h/?token=[KEY]&page=2"),
    ],
)
def test_secrets_are_hidden_whole(text, hidden):
    assert Privacy(("api_key",)).hide(text).text == hidden


@pytest.mark.parametrize(
    "text",
    [
        'password = getenv("DB_PASSWORD_2")',
        'api_key=os.environ["OPENAI_KEY_2"]',
        'token: "${TOKEN_2_OF_CI}"',
        "secret: {{ vault_secret_2 }}",
        "key = sha256sum(text2)",
        "password: something",
        "monkey: abc12345x",
        "primary key: users_2024_id",
        "max_tokens: 131072",
        'pad_token: "<|endoftext|>"',
        "密码学：abc的历史",
        "密码由8到16位字母组成",
        "the token is a word",
        "Basic understanding of 2 things",
        "task-a1B2c3D4e5a1B2c3D4e5",
    ],
)
def test_what_is_no_secret_stays(text):
    assert Privacy(("api_key",)).hide(text).text == text


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123456789ABCDEF0123456789ABCDEF\n\n"),
        ("PGP PRIVATE KEY BLOCK", "Version: GnuPG v1.4.11 (GNU/Linux)\nComment: made-by-hand\n\n"),
        ("OPENSSH PRIVATE KEY", ""),
        ("PRIVATE KEY", ""),
    ],
)
@pytest.mark.parametrize("body", [BODY, BODY.replace("\n", r"\n"), BODY * 200])
def test_private_keys_are_hidden_from_beginning_to_end(name, head, body):
    begin, end = f"-----BEGIN {name}-----", f"-----END {name}-----"
    hide = Privacy(("private_key",)).hide
    assert hide(f"see {begin}\n{head}{body}\n{end} and\n").text == "see [PRIVATE_KEY] and\n"
    assert hide(f"see {begin}\n{head}{body}\n and what follows").text == "see [PRIVATE_KEY]\n and what follows"
    assert hide(f"see {begin}\n{head}{body}\n{begin}\n{body}\n{end}").text == "see [PRIVATE_KEY]\n[PRIVATE_KEY]"


def test_words_about_keys_stay():
    text = "It begins with -----BEGIN PRIVATE KEY----- and, after some lines, ends with -----END PRIVATE KEY-----."
    assert Privacy(("private_key",)).hide(text).text == text

"""Small texts, conversations, tokenizers and corpora, made from a seed, for the tests of several rooms.

In: a seed or plain records. Out: strings, records, a tokenizer that is trained once, an artefact folder of kind corpus.
Knows nothing of models.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers

from danlu.base.artifact import Artifact, seal
from danlu.base.records import SPLITS, Conversation, Document, Message
from danlu.tokenizer.tokenizer import Tokenizer
from danlu.tokenizer.train import train

ENGLISH = (
    "The quick brown fox jumps over the lazy dog. It's 3,141.59 o'clock, isn't it?\nShe'll go to the park on Monday "
    "and they've seen 42 birds; WE'RE DONE! Once upon a time there was a little girl. "
)
CHINESE = "今天天气很好，小明和小红去公园散步。他们看见了四十二只鸟！“你好，世界？”老师说：从前有一座山，山里有座庙。"
CODE = "def f(x: int) -> str:\n    return f'{x:>10}'  # done\n\tif (a != b && c[0] == '\\n') { x += 1; }\r\n<div>"
EMOJI = "😀👨‍👩‍👧‍👦🏳️‍🌈🇨🇳👍🏽❤️✨🀄"
ODDITIES = "\u0301e\u0301ﬁ①½Ω≈ç√∫ ａＢ１　 …—‘’\u200b\u202e\x00\x7f٣השלוםمرحباनमस्तेไทย𠮷𝔘"


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Random mixtures of English, Chinese, code, emoji and rarities, from 0 to some 80 characters."""
    random_ = random.Random(seed)
    alphabets = (ENGLISH, CHINESE, CODE, EMOJI, ODDITIES)
    texts = []
    for _ in range(count):
        parts = []
        for _ in range(random_.randint(0, 4)):
            alphabet = random_.choice(alphabets)
            if random_.random() < 0.5:
                start = random_.randrange(len(alphabet))
                parts.append(alphabet[start : start + random_.randint(1, 20)])
            else:
                parts.append("".join(random_.choices(alphabet, k=random_.randint(1, 20))))
        texts.append("".join(parts))
    return texts


@cache
def small_tokenizer(vocabulary_size: int = 512) -> Tokenizer:
    """Trained on the texts above; the same one for all tests of a process."""
    return train([ENGLISH * 3, CHINESE * 3, CODE * 3, EMOJI] * 5, vocabulary_size=vocabulary_size)


@cache
def sentence_pieces() -> Tokenizer:
    """As SentencePiece's are converted: `▁` is a space, each text gets one in front, bytes spell what no piece does."""
    pieces = [("<unk>", 0.0), *((f"<0x{byte:02X}>", -10.0) for byte in range(256))]
    pieces += [(piece, -1.0) for piece in ("▁", "▁hello", "▁world", "老", "师")]
    backend = Backend(models.Unigram(pieces, 0, True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return Tokenizer(backend, {})


def random_documents(count: int, *, seed: int = 0, longest: int = 400) -> list[Document]:
    """Documents of 1 to `longest` characters of mixed text; each of its own id."""
    random_ = random.Random(seed)
    pool = "".join(random_texts(400, seed)) + ENGLISH + CHINESE
    documents = []
    for number in range(count):
        start = random_.randrange(len(pool) - longest)
        text = pool[start : start + random_.randint(1, longest)]
        documents.append(Document(f"document-{number}", text, "test", random_.choice(("zh", "en"))))
    return documents


def random_conversations(count: int, *, seed: int = 0) -> list[Conversation]:
    """Conversations of one to three questions and answers, some with a system turn."""
    random_ = random.Random(seed)
    texts = random_texts(1000, seed)
    conversations = []
    for number in range(count):
        messages = [Message("system", random_.choice(texts))] if random_.random() < 0.3 else []
        for _ in range(random_.randint(1, 3)):
            messages.append(Message("user", random_.choice(texts)))
            messages.append(Message("assistant", random_.choice(texts)))
        conversations.append(Conversation(f"conversation-{number}", tuple(messages), "test", "en"))
    return conversations


def write_corpus(
    folder: Path,
    documents: Mapping[str, Sequence[Document]],
    conversations: Mapping[str, Sequence[Conversation]] | None = None,
) -> Artifact:
    """A corpus artefact with these records by split; splits that are not named are empty."""
    folder.mkdir(parents=True)
    for split in SPLITS:
        _write(folder / f"{split}.jsonl", documents.get(split, ()))
        _write(folder / f"conversations-{split}.jsonl", (conversations or {}).get(split, ()))
    return seal(folder, kind="corpus", stage="prepare", version=1, config={}, parents={}, metrics={}, seconds=0.0)


def _write(path: Path, records: Iterable[Document | Conversation]) -> None:
    path.write_text("".join(json.dumps(record.to_dict(), ensure_ascii=False) + "\n" for record in records), "utf-8")

"""Proofs of evaluation: E1, perplexity and bits per byte depend on the text and the model alone; E4, BLEU and ROUGE cut
Chinese as the field does.

In: a tiny model, a model whose probabilities are known by hand, two tokenizers; pairs of texts. Out: red where batch
size, order, window or tokenizer change a score, or where the field's libraries give another. Does not say that a model
is good.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from danlu.evaluate.metrics import bleu, rouge_l, rouge_n
from danlu.evaluate.score import Piece, Score, log_likelihoods, score_texts, windows
from danlu.model.config import ModelConfig
from danlu.model.initialise import initialise
from danlu.model.transformer import Transformer
from tests.proofs.mutant import Mutant

MUTANTS = {
    "E1": (
        Mutant(  # padding is scored
            "src/danlu/evaluate/score.py",
            "scored[row, piece.first : len(piece.ids)] = True",
            "scored[row, piece.first :] = True",
        ),
        Mutant(  # bits are taken for nats
            "src/danlu/evaluate/score.py", "math.exp(min(self.loss, 700.0))", "2.0 ** min(self.loss, 700.0)"
        ),
        Mutant(  # what an unknown token hides is divided by
            "src/danlu/evaluate/score.py", "if self.bytes and not self.unknown else None", "if self.bytes else None"
        ),
        Mutant(  # what windows share is scored in both
            "src/danlu/evaluate/score.py", "Piece(ids[start:stop], done - start)", "Piece(ids[start:stop], 1)"
        ),
    ),
    "E4": (
        Mutant(
            "src/danlu/evaluate/metrics.py",
            'BLEU_TOKENIZERS = {"zh": "zh"',
            'BLEU_TOKENIZERS = {"zh": "13a"',
        ),
        Mutant(  # a line of Chinese is one word
            "src/danlu/evaluate/metrics.py",
            r'WORD = re.compile(rf"[{HAN}]|[^\W_{HAN}]+")',
            r'WORD = re.compile(r"[^\W_]+")',
        ),
    ),
}
TEXTS = ["a", "the cat sat", "小明在河边。", "word " * 40, "", "时" * 70, "mixed 中文 text, 3.5", "x" * 130]


class ByteTokenizer:
    """Each UTF-8 byte is an id; 256 starts a text."""

    size, bos_id, eos_id, unknown_id = 257, 256, None, None

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode("utf-8", "replace")


class PairTokenizer(ByteTokenizer):
    """Two bytes are one id: another cut of the same text (of even length)."""

    size, bos_id = 65537, 65536

    def encode(self, text: str) -> list[int]:
        data = text.encode()
        return [256 * data[i] + data[i + 1] for i in range(0, len(data), 2)]


class LettersTokenizer(ByteTokenizer):
    """A byte is an id; every character that is not ASCII is the one unknown token."""

    unknown_id = 255

    def encode(self, text: str) -> list[int]:
        return [ord(sign) if sign.isascii() else self.unknown_id for sign in text]


class ByteChain:
    """A model that holds byte b to have probability `table[b]` wherever it stands, whatever tokens are called."""

    def __init__(self, table: torch.Tensor, pairs: bool):
        self.config = SimpleNamespace(context_length=16)
        self.training = False
        single = table.log()
        known = (single[:, None] + single[None, :]).flatten() if pairs else single
        self.logits = torch.cat([known, torch.tensor([-math.inf])])

    def parameters(self):
        yield torch.zeros(1)

    def eval(self):
        return self

    def train(self, mode: bool):
        return self

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*ids.shape, 1)

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(*hidden.shape[:-1], -1)


@pytest.fixture(scope="module")
def model() -> Transformer:
    config = ModelConfig(
        vocabulary_size=320, width=64, layers=2, heads=4, kv_heads=2, head_width=16, mlp_width=128, context_length=48
    )
    built = Transformer(config)
    initialise(built, 3)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.mul_(4)  # far from uniform, so that a wrong context or a wrong weight shows
    return built


def test_E1_scores_do_not_depend_on_the_batch(model):
    """Token-weighted sums: alone, together, in any order, each text has the same score."""
    reference = [score_texts(model, ByteTokenizer(), [text])[0] for text in TEXTS]
    for batch_tokens in (1, 60, 100, 4096):
        together = score_texts(model, ByteTokenizer(), TEXTS, batch_tokens=batch_tokens)
        backwards = score_texts(model, ByteTokenizer(), TEXTS[::-1], batch_tokens=batch_tokens)[::-1]
        for one, same, other in zip(reference, together, backwards, strict=True):
            assert (same.tokens, same.bytes) == (one.tokens, one.bytes) == (other.tokens, other.bytes)
            assert same.nats == pytest.approx(one.nats, rel=1e-5)
            assert other.nats == pytest.approx(one.nats, rel=1e-5)
    total = sum(reference, Score())
    assert total.loss == pytest.approx(sum(s.nats for s in reference) / sum(s.tokens for s in reference))
    short, long = reference[0], reference[3]
    assert (short + long).loss != pytest.approx((short.loss + long.loss) / 2, rel=1e-3), "no mean of means"


def test_E1_a_row_is_scored_as_a_plain_forward_pass_says(model):
    """Hand loop over one row: log-softmax of the logits before each token, in float64."""
    ids = [256, *"hello 世界".encode()]
    with torch.no_grad():
        logits = model.head(model(torch.tensor([ids])))[0].double()[:, :257]
    by_hand = sum(float(torch.log_softmax(logits[t], -1)[ids[t + 1]]) for t in range(len(ids) - 1))
    found = log_likelihoods(model, [Piece(ids, 1)], vocabulary_limit=257)[0]
    assert found == pytest.approx(by_hand, rel=1e-5)
    cuts = range(2, len(ids))
    tails = log_likelihoods(model, [Piece(ids, cut) for cut in cuts], vocabulary_limit=257)
    heads = log_likelihoods(model, [Piece(ids[:cut], 1) for cut in cuts], vocabulary_limit=257)
    both = [head + tail for head, tail in zip(heads, tails, strict=True)]
    assert both == pytest.approx([found] * len(cuts), rel=1e-5), "pieces of a score add up to the whole, cut anywhere"


def test_E1_five_tokens_by_hand():
    """a has probability 1/2, b 1/4, c 1/8: `abbcc` costs 1 + 2 + 2 + 3 + 3 = 11 bits over 5 tokens and 5 bytes."""
    table = torch.zeros(256)
    table[list(b"abcde")] = torch.tensor([1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16])
    score = score_texts(ByteChain(table, pairs=False), ByteTokenizer(), ["abbcc"])[0]
    assert (score.tokens, score.bytes) == (5, 5)
    assert score.bits_per_byte == pytest.approx(11 / 5, rel=1e-6)
    assert score.loss == pytest.approx(11 * math.log(2) / 5, rel=1e-6)
    assert score.perplexity == pytest.approx(2 ** (11 / 5), rel=1e-6)


def test_E1_bits_per_byte_are_the_texts_own_under_two_tokenizers():
    """The same known probabilities of bytes, cut into tokens in two ways: equal bits per byte, unequal loss."""
    generator = torch.Generator().manual_seed(5)
    table = torch.softmax(torch.randn(256, generator=generator), 0)
    texts = [text for text in TEXTS if len(text.encode()) % 2 == 0]
    bytewise = sum(score_texts(ByteChain(table, pairs=False), ByteTokenizer(), texts), Score())
    pairwise = sum(score_texts(ByteChain(table, pairs=True), PairTokenizer(), texts), Score())
    assert bytewise.bytes == pairwise.bytes == sum(len(text.encode()) for text in texts)
    assert bytewise.bits_per_byte == pytest.approx(pairwise.bits_per_byte, rel=1e-5)
    assert bytewise.loss != pytest.approx(pairwise.loss, rel=0.1)


def test_E1_what_the_vocabulary_cannot_write_has_no_bits_per_byte(model):
    """Of `a时b` the model need not tell which character stands in the middle: three bytes would come for nothing."""
    hidden, plain = score_texts(model, LettersTokenizer(), ["a时b", "a-b"])
    assert (hidden.tokens, hidden.bytes, hidden.unknown) == (3, 5, 1)
    assert (hidden.bits_per_byte, (hidden + plain).bits_per_byte) == (None, None)
    assert hidden.loss > 0
    assert plain.bits_per_byte == pytest.approx(plain.nats / math.log(2) / 3)


@pytest.mark.parametrize("length", [2, 3, 5, 16, 48])
@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 100])
def test_E1_windows_score_every_token_once(length, count):
    ids = list(range(count))
    pieces = windows(ids, length)
    scored = [id for piece in pieces for id in piece.ids[piece.first :]]
    assert scored == ids[1:]
    assert all(len(piece.ids) <= length and piece.first >= 1 for piece in pieces)
    overlap = min(int(length * 0.25), length - 2)
    assert all(piece.first > overlap for piece in pieces[1:]), "each has at least the overlap before it"


ANSWERS = ["安娜在茶馆找到20个西瓜。", "小明星期三去山上看书", "他在mill那里买了 3.5 斤苹果，很高兴"]
WANTED = ["星期一安娜在茶馆找到20个西瓜，觉得很高兴。", "星期三小明去河边看书", "他在mill买了3.5斤红苹果，觉得很高兴"]


class ByCharacter:
    """A tokenizer for rouge-score: each Chinese character, each word of letters or digits; marks are dropped."""

    def tokenize(self, text: str) -> list[str]:
        spread = "".join(f" {sign} " if sign > "\u2e80" else sign for sign in text.lower())
        return "".join(sign if sign.isalnum() else " " for sign in spread).split()


def test_E4_bleu_of_chinese_is_of_its_characters_worked_out_by_hand():
    """Of the answer's 8 characters 6 stand in the reference, of its 7 pairs 4, of 6 triples 2, of 5 fours 1."""
    answer, wanted = "我今天去北京看书", "我今天去上海看书"
    found = bleu([answer], [wanted], language="zh")
    assert found.precisions == pytest.approx((100 * 6 / 8, 100 * 4 / 7, 100 * 2 / 6, 100 * 1 / 5))
    assert (found.answer_length, found.reference_length, found.brevity_penalty) == (8, 8, 1.0)
    assert found.score == pytest.approx(100 * (6 / 8 * 4 / 7 * 2 / 6 * 1 / 5) ** (1 / 4), abs=1e-6)
    assert found.score == pytest.approx(41.11, abs=0.005)
    # Without the first character: 7 characters against 8, and 5 of 7, 3 of 6, 1 of 5, 0 of 4, which is counted as 1/2.
    short = bleu([answer[1:]], [wanted], language="zh")
    penalty = math.exp(1 - 8 / 7)
    assert short.brevity_penalty == pytest.approx(penalty)
    assert short.score == pytest.approx(100 * penalty * (5 / 7 * 3 / 6 * 1 / 5 * 0.5 / 4) ** (1 / 4), abs=1e-6)


def test_E4_bleu_of_a_corpus_adds_counts_and_no_scores():
    """Two answers: their n-grams are counted together; words of another script stay whole among the characters."""
    found = bleu(["我爱北京。", "他在 mill 看书"], ["我爱北京。", "他在 mall 看书"], language="zh")
    assert (found.answer_length, found.reference_length) == (10, 10)
    assert found.precisions == pytest.approx((100 * 9 / 10, 100 * 6 / 8, 100 * 3 / 6, 100 * 2 / 4))
    assert found.score == pytest.approx(100 * (9 / 10 * 6 / 8 * 3 / 6 * 2 / 4) ** (1 / 4), abs=1e-6)


@pytest.mark.parametrize(
    ("answer", "wanted", "shares"),
    [  # precision and recall of ROUGE-1, ROUGE-2 and ROUGE-L, counted by hand
        ("我今天去北京看书", "我今天去上海看书", [(6 / 8, 6 / 8), (4 / 7, 4 / 7), (6 / 8, 6 / 8)]),
        ("看书去", "我去看书", [(3 / 3, 3 / 4), (1 / 2, 1 / 3), (2 / 3, 2 / 4)]),
        ("他在 Mill 买 3 个", "他在mill买了3个瓜", [(6 / 6, 6 / 8), (4 / 5, 4 / 7), (6 / 6, 6 / 8)]),
        (
            "The quick brown dog jumps on the log.",
            "The quick brown fox jumps over the lazy dog",
            [(6 / 8, 6 / 9), (2 / 7, 2 / 8), (5 / 8, 5 / 9)],
        ),
    ],
)
def test_E4_rouge_counts_characters_of_chinese_and_words_of_english(answer, wanted, shares):
    found = [rouge_n(answer, wanted, 1), rouge_n(answer, wanted, 2), rouge_l(answer, wanted)]
    assert [(one.precision, one.recall) for one in found] == shares


@pytest.mark.parametrize(("answer", "wanted"), list(zip(ANSWERS, WANTED, strict=True)))
def test_E4_rouge_over_the_same_units_is_rouge_scores(answer, wanted):
    """Overlap and longest common subsequence by rouge-score's own code; the units are handed to it."""
    scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="rouge-score is an extra of development")
    theirs = scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=ByCharacter()).score(wanted, answer)
    ours = {
        "rouge1": rouge_n(answer, wanted, 1),
        "rouge2": rouge_n(answer, wanted, 2),
        "rougeL": rouge_l(answer, wanted),
    }
    for name, found in ours.items():
        reference = theirs[name]
        assert (found.precision, found.recall) == (reference.precision, reference.recall), name
        assert found.f1 == pytest.approx(reference.fmeasure)
        assert found.f1 > 0.3

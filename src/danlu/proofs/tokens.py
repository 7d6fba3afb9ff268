"""Proofs on a folder's tokenizer and chat template: nothing lost, no control token out of text, the mask exact.

In: what `convert.load` returns. Out: a finding, or `ProofFailed`. Called by `proofs.table`. A foreign tokenizer without
our control tokens has no template of ours; the proofs about it then do not apply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from danlu.base.records import Conversation, Message
from danlu.proofs.outcome import NotApplicable, require, scratch_folder, texts

if TYPE_CHECKING:
    from danlu.convert import Loaded
    from danlu.tokenizer.chat import ChatTemplate
    from danlu.tokenizer.tokenizer import Tokenizer

MANY = 500


def tokenizer_of(subject: Loaded) -> Tokenizer:
    if subject.tokenizer is None:
        raise NotApplicable("the folder has no tokenizer")
    return subject.tokenizer


def template_of(subject: Loaded) -> ChatTemplate:
    if subject.template is None:
        raise NotApplicable("the tokenizer lacks the control tokens of danlu's chat template")
    return subject.template


def conversations(tokenizer: Tokenizer) -> list[list[Message]]:
    """System or none, one to three turns, empty and hostile content that spells every control token."""
    hostile = " ".join(tokenizer.special)
    found = []
    for index, text in enumerate([*texts(40, seed=2), hostile, "", f"{hostile}{hostile}"]):
        turns = [Message("system", text)] if index % 2 else []
        for turn in range(1 + index % 3):
            turns += [Message("user", text + str(turn)), Message("assistant", f"{turn}{text}")]
        found.append(turns)
    return found


def no_text_is_lost(subject: Loaded) -> str:
    """D20: decoding gives back the encoded text, and so do streamed pieces, without half a character in any.

    Where a vocabulary has an unknown token, a text that holds one is counted, and not expected back.
    """
    tokenizer = tokenizer_of(subject)
    unknown = 0
    for text in texts(MANY):
        ids = tokenizer.encode(text)
        back = tokenizer.decode(ids)
        is_whole = tokenizer.unknown_id is None or tokenizer.unknown_id not in ids
        unknown += not is_whole
        require(back == text or not is_whole, f"{text!r} comes back as {back!r}")
        stream = tokenizer.stream()
        pieces = [*map(stream.push, ids), stream.finish()]
        require("".join(pieces) == back, f"streamed {''.join(pieces)!r}, decoded {back!r}")
        require("\ufffd" not in "".join(pieces), f"half a character in the stream of {text!r}")
    if unknown == 0:
        return f"{MANY} strings: decode(encode(x)) = x = streamed"
    return (
        f"{MANY} strings, {unknown} of them with words that the vocabulary does not know; of the others nothing is lost"
    )


def text_makes_no_control_token(subject: Loaded) -> str:
    """D13: text that spells control tokens is encoded as ordinary text."""
    tokenizer = tokenizer_of(subject)
    control = set(tokenizer.special.values())
    for name in tokenizer.special:
        for text in (name, f"x{name}y", f" {name}\n{name}", name * 3):
            found = control.intersection(tokenizer.encode(text))
            require(not found, f"{text!r} is encoded with control token {sorted(found)}")
    return f"{len(tokenizer.special)} control tokens, spelled in four ways: none appears"


def transformers_cuts_alike(subject: Loaded) -> str:
    """T1: the exported tokenizer, loaded by transformers, gives the same ids."""
    tokenizer = tokenizer_of(subject)
    try:
        import transformers
    except ImportError:
        raise NotApplicable("transformers is not installed (pip install 'danlu[export]')") from None
    theirs = transformers.AutoTokenizer.from_pretrained(
        str(subject.folder), local_files_only=True, trust_remote_code=False
    )
    for text in texts(MANY, seed=1):
        ours, other = tokenizer.encode(text), theirs(text, add_special_tokens=False, verbose=False)["input_ids"]
        require(ours == other, f"{text!r}: ours {ours[:8]}…, transformers {other[:8]}…")
    return f"{MANY} strings, equal ids"


def one_start_and_one_end_a_turn(subject: Loaded) -> str:
    """D11: exactly one start mark, at the start; exactly one end mark a turn; counted on ids."""
    template, tokenizer = template_of(subject), tokenizer_of(subject)
    many = conversations(tokenizer)
    for messages in many:
        ids = template.render(messages).ids
        require(ids[0] == tokenizer.bos_id, f"a conversation starts with id {ids[0]}, not {tokenizer.bos_id}")
        starts, ends = ids.count(ids[0]), sum(id == tokenizer.end_id for id in ids)
        require(starts == 1, f"{starts} start marks in one conversation")
        require(ends == len(messages), f"{ends} end marks for {len(messages)} turns")
    return f"{len(many)} conversations"


def the_mask_is_the_answer(subject: Loaded) -> str:
    """D14: what the loss counts is each assistant's text and its end mark, and nothing else.

    By the template's mask, and by the targets of rows that were packed, written and read again.
    """
    template, tokenizer = template_of(subject), tokenizer_of(subject)
    assert tokenizer.end_id is not None
    many = conversations(tokenizer)
    wanted = [
        [
            id
            for message in messages
            if message.role == "assistant"
            for id in (*tokenizer.encode(message.content), tokenizer.end_id)
        ]
        for messages in many
    ]
    rendered = [template.render(messages) for messages in many]
    masked = [[id for id, counts in zip(one.ids, one.mask, strict=True) if counts] for one in rendered]
    in_rows = _targets_in_rows(template, many, max(len(one.ids) for one in rendered))
    for answers, *found in zip(wanted, masked, in_rows, strict=True):
        for learned in found:
            require(learned == answers, f"the loss would count {tokenizer.decode(learned, keep_special=True)[:80]!r}")
    return f"{len(many)} conversations, as masks and as rows on disk"


def _targets_in_rows(template: ChatTemplate, many: list[list[Message]], row_length: int) -> list[list[int]]:
    """What is learnt of each conversation, from rows as the shard stage writes them and training reads them."""
    import numpy as np

    from danlu.shards.batches import IGNORE
    from danlu.shards.encode import Tally, encode_conversations
    from danlu.shards.files import RowSet, RowSetWriter

    named = [Conversation(str(number), tuple(messages), "prove") for number, messages in enumerate(many)]
    with scratch_folder() as folder:
        with RowSetWriter(folder, template.tokenizer, row_length=row_length, masked=True) as writer:
            for part in encode_conversations(template, named, Tally()):
                writer.add(part)
        rows = RowSet.open(folder)
        batch = rows.batch(np.arange(rows.num_rows))
        found: dict[str, list[int]] = {}
        for row in range(rows.num_rows):
            for piece, name in enumerate(rows.documents_of(row)):
                targets = batch.targets[row][batch.documents[row] == piece]
                found[name] = targets[targets != IGNORE].tolist()
        del rows  # where a mapped file cannot be removed
    return [found.get(one.id, []) for one in named]


def the_question_is_a_prefix(subject: Loaded) -> str:
    """T3: what the model is asked with is, id by id, the beginning of what training showed."""
    template = template_of(subject)
    many = conversations(tokenizer_of(subject))
    for messages in many:
        asked, taught = template.prompt(messages[:-1]), template.render(messages).ids
        require(taught[: len(asked)] == asked, f"the prompt of {messages[-2].content!r:.60} is no prefix of training")
    return f"{len(many)} conversations"

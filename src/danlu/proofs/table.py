"""The table of proofs that a user can run, and the run itself.

In: nothing, or a loaded model. Out: one `Result` a proof. Called by `commands.prove` and by `tests/proofs`, so that
what a user sees is what the tests see. The ids are those of the project's list of traps; what each does not prove is
said as plainly as what it does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from danlu.proofs import machines, models, tokens
from danlu.proofs.outcome import NotApplicable, ProofFailed

if TYPE_CHECKING:
    from danlu.convert import Loaded


@dataclass(frozen=True)
class Proof:
    """One property: what its proof shows, what it leaves open, what it needs, and the function that tries it."""

    title: str
    proves: str
    does_not: str
    needs: Literal["machine", "model"]
    function: Callable[..., str]


@dataclass(frozen=True)
class Result:
    """How one proof ended: `proved`, `FAILED` or `does not apply`, with the finding or the reason."""

    id: str
    proof: Proof
    word: str
    finding: str
    seconds: float


PROOFS: dict[str, Proof] = {
    "D7": Proof(
        "every row once",
        "ranks and steps of any size partition an epoch",
        "that the rows on disk are the right ones",
        "machine",
        machines.the_order_is_a_partition,
    ),
    "D8": Proof(
        "a new order each epoch",
        "epochs differ, seeds repeat, any step can be replayed",
        "that the order is random in the statistician's sense",
        "machine",
        machines.epochs_differ_and_seeds_repeat,
    ),
    "RT15": Proof(
        "same run, same bits",
        "two runs of the training loop, in two processes on this CPU, end in the same bits, for this thread count",
        "equality between machines, with another thread count, or on a GPU",
        "machine",
        machines.the_same_run_gives_the_same_bits,
    ),
    "RT4": Proof(
        "a kill leaves old or new",
        "signal 9 during a save never leaves a torn checkpoint on this disk",
        "what the disk's own cache does when the power fails",
        "machine",
        machines.a_kill_leaves_old_or_new,
    ),
    "O10": Proof(
        "damage is noticed",
        "bit flips, cuts, zero pages, missing and exchanged files are named",
        "damage in memory, before the hash was taken",
        "machine",
        machines.damage_is_noticed,
    ),
    "RT3": Proof(
        "a damaged checkpoint is passed over",
        "the newest whole checkpoint is the one that is used, and the damaged one is left where it lies",
        "that older checkpoints are kept: that is the recipe's `keep`",
        "machine",
        machines.a_damaged_checkpoint_is_passed_over,
    ),
    "O16": Proof(
        "work is counted right",
        "the FLOP formula equals the products of a real step within 2 %",
        "that the measured peak of this machine is its true one",
        "machine",
        machines.work_is_counted_right,
    ),
    "X12": Proof(
        "the door is closed",
        "no public address is served without a key",
        "that the key is kept secret, or that a proxy in front is safe",
        "machine",
        machines.the_door_is_closed,
    ),
    "D20": Proof(
        "no text is lost",
        "encoding and decoding, whole or streamed, give the text back",
        "anything about how well the tokenizer compresses",
        "model",
        tokens.no_text_is_lost,
    ),
    "D13": Proof(
        "text makes no control token",
        "a user cannot type a control token into a conversation",
        "that the model cannot be talked into anything",
        "model",
        tokens.text_makes_no_control_token,
    ),
    "T1": Proof(
        "transformers cuts alike",
        "the folder's tokenizer gives the same ids in transformers",
        "the same for llama.cpp, or that the library which cuts on both sides is right",
        "model",
        tokens.transformers_cuts_alike,
    ),
    "D11": Proof(
        "one start, one end a turn",
        "each conversation has one start mark and each turn one end mark",
        "that the model learned to write them",
        "model",
        tokens.one_start_and_one_end_a_turn,
    ),
    "D14": Proof(
        "the mask is the answer",
        "the loss counts the assistant's texts and end marks, nothing else",
        "that a given training run used this template",
        "model",
        tokens.the_mask_is_the_answer,
    ),
    "T3": Proof(
        "asked as it was taught",
        "the prompt is an exact prefix of what training showed",
        "that another program builds the same prompt",
        "model",
        tokens.the_question_is_a_prefix,
    ),
    "M5": Proof(
        "evaluation is repeatable",
        "dropout is off in evaluation and the mode is restored",
        "that another library does the same with these weights",
        "model",
        models.evaluation_is_repeatable,
    ),
    "M6": Proof(
        "the future is not seen",
        "no logit depends on a later token, bit for bit",
        "anything about what the model learned",
        "model",
        models.the_future_is_not_seen,
    ),
    "M7": Proof(
        "the cache changes nothing",
        "decoding token by token gives the logits of the full pass",
        "rows longer than the one tried",
        "model",
        models.the_cache_changes_nothing,
    ),
    "M8": Proof(
        "a batch changes nothing",
        "prompts answered together get the tokens that each gets alone",
        "the same in bf16, where rounding may part two near-equal tokens",
        "model",
        models.a_batch_changes_nothing,
    ),
    "M9": Proof(
        "attention backends agree",
        "logits and gradients of all backends are those of the reference",
        "backends that this machine lacks",
        "model",
        models.backends_agree,
    ),
    "D1": Proof(
        "packed documents are strangers",
        "a packed document cannot see the one before it",
        "that a foreign trainer kept them apart when it made this model",
        "model",
        models.packed_documents_are_strangers,
    ),
    "T4": Proof(
        "padding rows are never chosen",
        "ids that the tokenizer does not have are not generated",
        "the same in other programs: they must know the limit",
        "model",
        models.padding_rows_are_never_chosen,
    ),
    "X3": Proof(
        "the folder says where to stop",
        "the generation settings name the tokens that end a reply",
        "that the model learned to write them",
        "model",
        models.the_folder_says_where_to_stop,
    ),
    "X1": Proof(
        "transformers computes the same",
        "transformers loads the folder and gives the same logits",
        "rows longer than those tried, and other number formats",
        "model",
        models.transformers_agrees,
    ),
}


def run(subject: Loaded | None, ids: tuple[str, ...] = ()) -> Iterator[Result]:
    """Try the proofs that need no more than `subject` (None: this machine alone), in the table's order."""
    for id, proof in PROOFS.items():
        if (ids and id not in ids) or (proof.needs == "model" and subject is None):
            continue
        arguments: tuple[Any, ...] = (subject,) if proof.needs == "model" else ()
        started_at = time.perf_counter()
        try:
            word, finding = "proved", proof.function(*arguments)
        except ProofFailed as failure:
            word, finding = "FAILED", str(failure)
        except NotApplicable as reason:
            word, finding = "does not apply", str(reason)
        yield Result(id, proof, word, finding, time.perf_counter() - started_at)

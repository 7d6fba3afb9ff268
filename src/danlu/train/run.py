"""One training run on disk: resume, the loop, its diary, its checkpoints, and the weights that are left at the end.

In: a learner, a plan, a validation, settings and a folder. Out: `Outcome`, with the model holding its final weights.
Called by the training stages. Knows files and terminal, which `loop` does not; knows no corpus, no export.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from danlu.base import console
from danlu.base.artifact import digest
from danlu.base.books import LawBroken, check_balance
from danlu.base.errors import ArtifactError
from danlu.parallel.collectives import barrier
from danlu.parallel.place import kernel_set
from danlu.train import checkpoint
from danlu.train.guard import check_validation
from danlu.train.interrupts import Interrupted, deferred_signals
from danlu.train.journal import Journal
from danlu.train.loop import Learner, Outside, Plan, Progress, StepReport, Stopped, stopped_early, train
from danlu.train.meters import Speedometer, peak_memory_bytes
from danlu.train.samples import Samples
from danlu.train.settings import CheckpointSettings
from danlu.train.trackers import open_trackers
from danlu.train.validation import Validation

ORDER_DIGITS = 16
"""Of the order's hash, in the diary; the manifest and the checkpoints hold all of it."""
Show = Callable[[], list[dict[str, Any]]]
"""Continues the fixed prompts with the model as it is now: one dictionary for each."""


@dataclass(frozen=True)
class Run:
    """Everything that one run needs; `show` may be empty, `peak_flops` is of all ranks together."""

    out: Path
    learner: Learner
    plan: Plan
    validation: Validation
    checkpoints: CheckpointSettings
    show: Show
    peak_flops: float
    trackers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a run ended; `used_step` is the step whose weights the model holds.

    The speeds are None where nothing was left to train: the run was cut off between its last save and its manifest.
    """

    progress: Progress
    used_step: int
    validation: Mapping[str, float]
    stopped_early: bool
    tokens_per_second: float | None
    utilisation: float | None
    peak_memory_bytes: int


def carry_through(run: Run) -> Outcome:
    """Go on from the newest valid checkpoint, or from the start, to the end of the plan."""
    world, folder = run.learner.world, run.out / "checkpoints"
    progress = resume(run.learner, run.plan, folder)
    if world.is_first:  # a run that was killed between its last save and this has no other save to come
        checkpoint.prune(folder, run.checkpoints.keep, progress.best_step)
    meter, first = Speedometer(flops_per_token(run), run.peak_flops), progress.step
    if not world.is_first:
        console.set_mode(quiet=True)
    with deferred_signals() as asked, _diary(run, progress) as journal:
        if progress.step == 0:
            _show(run, journal, progress)
        outside = Outside(
            evaluate=lambda: _evaluate(run, journal, progress),
            save=lambda: _save(run, progress, folder),
            asked_to_stop=asked,
        )
        total, done = run.plan.total_samples, progress.step * run.plan.batch_rows
        try:
            with console.progress("training", total, "rows", done=min(total, done)) as shown:
                for report in train(run.learner, run.plan, progress, outside):
                    meter.add(report.tokens, report.seconds)
                    _tell(run, report, meter, journal)
                    shown.advance(len(report.rows), _note(report, meter))
        except Stopped:
            raise Interrupted(
                f"stopped: training is saved after step {progress.step} of {run.plan.steps}",
                where=folder / checkpoint.folder_name(progress.step),
                remedy="give the same command again: it goes on from this step",
            ) from None
    check_all_seen(run.learner.samples, run.plan, progress)
    used_step, trained = finish(run, progress, folder), progress.step > first
    return Outcome(
        progress,
        used_step,
        run.validation.measure(run.learner.model, world),
        stopped_early(run.plan, progress),
        meter.tokens_per_second if trained else None,
        meter.utilisation if trained else None,
        peak_memory_bytes(world.device),
    )


SAMPLES_AT_ONCE = 1 << 16


def check_all_seen(samples: Samples, plan: Plan, progress: Progress) -> None:
    """LawBroken unless the samples seen, over all interruptions and ranks, are the planned ones in their order.

    The plan is read anew: the order up to the last step is worked out at one go, and not step by step as it was taken.
    """
    seen = min(progress.step * plan.batch_rows, plan.total_samples)
    planned = Progress()
    stride = max(1, SAMPLES_AT_ONCE // plan.batch_rows) * plan.batch_rows
    for first in range(0, seen, stride):
        rows = samples.order.rows(first, min(first + stride, seen))
        for start in range(0, len(rows), plan.batch_rows):
            planned.count_order(rows[start : start + plan.batch_rows])
    if planned.order_hash != progress.order_hash:
        raise LawBroken(
            f"samples seen are not the samples planned: order {progress.order_hash} after {seen:,} samples, "
            f"planned {planned.order_hash}"
        )
    epochs = seen // samples.row_set.num_rows
    last = samples.row_set.subset(samples.order.rows(epochs * samples.row_set.num_rows, seen))
    check_balance("tokens planned", epochs * samples.row_set.num_tokens + last.num_tokens, {"seen": progress.tokens})


def flops_per_token(run: Run) -> float:
    return run.learner.model.config.flops_per_token(run.learner.samples.row_set.row_length)


class _Silence:
    """The diary of ranks that write none."""

    def __enter__(self) -> _Silence:
        return self

    def __exit__(self, *error: object) -> None: ...

    def metrics(self, step: int, values: Mapping[str, float], **facts: Any) -> None: ...

    def sample(self, step: int, **values: Any) -> None: ...


def _diary(run: Run, progress: Progress) -> Journal | _Silence:
    if not run.learner.world.is_first:
        return _Silence()
    told = progress.step if progress.step > 0 else -1  # a run that begins again tells its step 0 again
    return Journal(run.out, told, open_trackers(run.trackers, run.out, run.out.resolve().parent.name))


def _evaluate(run: Run, journal: Journal | _Silence, progress: Progress) -> dict[str, float]:
    """Validation loss on all ranks; the first also lets the model continue the fixed prompts."""
    found = run.validation.measure(run.learner.model, run.learner.world)
    check_validation(found["loss"], progress.step)
    _show(run, journal, progress)
    return found


SAMPLES_SAID, PROMPT_SAID, TEXT_SAID = 2, 40, 70
"""How many samples are said at each validation, and how many characters of each."""


def _show(run: Run, journal: Journal | _Silence, progress: Progress) -> None:
    """The continuations of fixed prompts go into the diary, the first of them before the person's eyes as well."""
    if run.learner.world.is_first:
        for number, sample in enumerate(run.show()):
            journal.sample(progress.step, **sample)
            if number < SAMPLES_SAID:
                prompt, text = (" ".join(sample[key].split()) for key in ("prompt", "text"))
                console.say(f"    {prompt[-PROMPT_SAID:]} ▸ {text[:TEXT_SAID]}", style="dim")


def _tell(run: Run, report: StepReport, meter: Speedometer, journal: Journal | _Silence) -> None:
    """One line of metrics for a step."""
    values = {
        "train/loss": report.loss,
        "train/grad_norm": report.gradient_norm,
        "train/lr": report.learning_rate,
        "train/tokens": report.tokens,
        "train/targets": report.targets,
        "train/tok_per_sec": round(meter.tokens_per_second, 1),
        "train/mfu": round(meter.utilisation, 4),
    }
    if report.targets == 0:
        console.warn_once(f"step {report.step} has no trainable token: it was counted, and changed nothing")
    if report.validation is not None:
        values["val/loss"] = report.validation["loss"]
        values["val/bpb"] = report.validation["bits_per_byte"]
    journal.metrics(report.step, values, order=report.order_hash[:ORDER_DIGITS])
    if report.validation is not None:
        console.say(
            f"  step {report.step:,} of {run.plan.steps:,}: validation loss {values['val/loss']:.4f}, "
            f"{values['val/bpb']:.3f} bits per byte"
        )


def _note(report: StepReport, meter: Speedometer) -> str:
    return f"loss {report.loss:.3f}  {meter.tokens_per_second:,.0f} tokens/s  MFU {100 * meter.utilisation:.0f} %"


def parameters_by_name(model: nn.Module) -> dict[str, Tensor]:
    """The fp32 weights under their plain names; a tied matrix once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def _save(run: Run, progress: Progress, folder: Path) -> None:
    """The first rank writes, all wait: a rank that ran ahead could be killed with nothing to come back to."""
    if run.learner.world.is_first and not (folder / checkpoint.folder_name(progress.step)).exists():
        parts = {
            "model": parameters_by_name(run.learner.model),
            "optimizer": run.learner.optimizer.state(),
            "random": {"torch": torch.get_rng_state()},
        }
        kernels = _kernels(run.learner, run.plan)
        facts = {"progress": asdict(progress), "plan": plan_digest(run.plan), "kernels": kernels}
        checkpoint.save(folder, progress.step, parts, facts)
        checkpoint.prune(folder, run.checkpoints.keep, progress.best_step)
    barrier(run.learner.world)


def plan_digest(plan: Plan) -> str:
    """What must be equal for a checkpoint to be continued. The micro-batch may change: it changes no sum; the learning
    rate too: it is the settings' and never a checkpoint's."""
    return digest(
        {key: value for key, value in asdict(plan).items() if key not in ("micro_batch_rows", "learning_rate")}
    )


def resume(learner: Learner, plan: Plan, folder: Path) -> Progress:
    """Put learner and random state where the newest valid checkpoint was; damaged newer ones are set aside by name."""
    world = learner.world
    folder.mkdir(parents=True, exist_ok=True)
    found = checkpoint.newest_valid(folder)
    barrier(world)  # every rank has looked before the first one tidies up
    if world.is_first:
        checkpoint.sweep(folder)
        newest = found.step if found is not None else -1
        checkpoint.discard(folder, [step for step in checkpoint.steps_on_disk(folder) if step > newest])
    barrier(world)
    if found is None:
        return Progress()
    if found.facts["plan"] != plan_digest(plan):
        raise ArtifactError(
            "the checkpoint belongs to a run with another plan",
            where=found.folder,
            remedy="continue with the settings it was made with, or start anew with --again",
        )
    load_parameters(learner.model, found.tensors("model"))
    learner.optimizer.load_state(found.tensors("optimizer"))
    torch.set_rng_state(found.tensors("random")["torch"])
    progress = Progress(**found.facts["progress"])
    _say_resumed(found, learner, plan, progress)
    return progress


def _kernels(learner: Learner, plan: Plan) -> dict[str, str | int | bool]:
    return kernel_set(learner.model, learner.world, plan.micro_batch_rows)


def _say_resumed(found: checkpoint.Checkpoint, learner: Learner, plan: Plan, progress: Progress) -> None:
    if progress.step >= plan.steps:
        console.say(f"  all {plan.steps:,} steps are done: nothing to train")
    elif stopped_early(plan, progress):
        console.say(f"  the run stopped early after step {progress.step:,}: nothing to train")
    else:
        console.say(
            f"  going on after step {progress.step:,} of {plan.steps:,}; sample order so far {progress.order_hash[:12]}"
        )
    before, now = found.facts.get("kernels", {}), _kernels(learner, plan)
    differing = [
        f"{name} {before[name]}, now {now[name]}" for name in now if name in before and before[name] != now[name]
    ]
    if differing:
        console.warn_once(
            f"the run goes on otherwise than it was started ({'; '.join(differing)}): "
            "results stay right, but are no longer equal to the last bit"
        )


def load_parameters(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy weights in by name; every name and shape must fit, none may be left over."""
    parameters = dict(model.named_parameters())
    wrong = sorted(parameters.keys() ^ tensors.keys()) + [
        name for name in parameters.keys() & tensors.keys() if parameters[name].shape != tensors[name].shape
    ]
    if wrong:
        raise ArtifactError("the checkpoint's weights do not fit this model", found=", ".join(wrong[:5]))
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def finish(run: Run, progress: Progress, folder: Path) -> int:
    """Give the model its final weights: the best by validation, or the last; returns their step."""
    if run.checkpoints.finish == "last" or progress.best_step in (None, progress.step):
        return progress.step
    try:
        best = checkpoint.open_checkpoint(folder / checkpoint.folder_name(int(progress.best_step or 0)))
    except ArtifactError as error:
        console.warn_once(f"{error}\n  the weights of the last step are used instead of the best ones")
        return progress.step
    load_parameters(run.learner.model, best.tensors("model"))
    return best.step


def summary(outcome: Outcome) -> dict[str, float | int | bool | None]:
    """The numbers that the manifest of a trained model carries."""
    progress, speed, utilisation = outcome.progress, outcome.tokens_per_second, outcome.utilisation
    return {
        "validation_loss": outcome.validation["loss"],
        "bits_per_byte": outcome.validation["bits_per_byte"],
        "steps": progress.step,
        "tokens": progress.tokens,
        "used_step": outcome.used_step,
        "best_step": progress.best_step,
        "best_loss": progress.best_loss,
        "stopped_early": outcome.stopped_early,
        "tokens_per_second": None if speed is None else round(speed, 1),
        "mfu": None if utilisation is None else round(utilisation, 4),
        "peak_memory_bytes": outcome.peak_memory_bytes,
    }

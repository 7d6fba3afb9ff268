"""The scheduler alone, with numbers only: who works on what, in which slot, in which order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.infer.sampling import Sampling
from danlu.infer.scheduler import Scheduler, Sequence, State


def sequence(id: int, prompt: int, answer: int = 4) -> Sequence:
    return Sequence(id, tuple(range(prompt)), Sampling(max_tokens=answer), seed=0, limit=prompt + answer)


def play(scheduler: Scheduler) -> list[Sequence]:
    """One step as the engine makes it: the sequences that chose a token."""
    plan = scheduler.schedule()
    scheduler.computed(plan)
    chosen = []
    for work in plan:
        if work.chooses:
            work.sequence.generated.append(0)
            chosen.append(work.sequence)
            if work.sequence.length == work.sequence.limit:
                scheduler.finish(work.sequence)
    return chosen


def test_tokens_across_prompt_and_answer():
    one = sequence(0, 3)
    one.generated = [10, 11]
    assert one.tokens(0, 5) == [0, 1, 2, 10, 11]
    assert one.tokens(2, 4) == [2, 10]
    assert one.tokens(4, 5) == [11]


def test_decoding_comes_before_prompts_and_a_long_prompt_comes_in_pieces():
    scheduler = Scheduler(num_slots=2, cache_tokens=100, step_tokens=4)
    scheduler.add(sequence(0, 2))
    play(scheduler)
    scheduler.add(sequence(1, 9))
    plan = scheduler.schedule()
    assert [(work.sequence.id, work.start, work.stop, work.chooses) for work in plan] == [
        (0, 2, 3, True),
        (1, 0, 3, False),
    ]


def test_admission_is_first_come_first_served_by_slots_and_by_tokens():
    scheduler = Scheduler(num_slots=3, cache_tokens=20, step_tokens=64)
    for id, size in enumerate((10, 10, 1)):
        scheduler.add(sequence(id, size, answer=2))
    assert [work.sequence.id for work in scheduler.schedule()] == [0]  # 12 + 12 are more than 20; nobody overtakes
    assert [waiting.id for waiting in scheduler.waiting] == [1, 2]


def test_a_sequence_larger_than_the_cache_still_runs_alone():
    scheduler = Scheduler(num_slots=2, cache_tokens=5, step_tokens=8)
    scheduler.add(sequence(0, 8))
    assert scheduler.schedule()


def test_preemption_puts_a_sequence_first_in_the_queue_and_starts_its_tokens_over():
    scheduler = Scheduler(num_slots=1, cache_tokens=100, step_tokens=8)
    first, second = sequence(0, 3), sequence(1, 3)
    scheduler.add(first)
    scheduler.add(second)
    play(scheduler)
    scheduler.preempt(first)
    assert (first.computed, first.slot, first.state) == (0, -1, State.WAITING)
    work = scheduler.schedule()[0]
    assert (work.sequence.id, work.start, work.stop) == (0, 0, 4)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 6)), min_size=1, max_size=12),
    st.integers(1, 4),
    st.integers(0, 12),
    st.lists(st.integers(0, 3), max_size=10),
)
def test_everything_ends_slots_are_never_shared_and_budgets_hold(sizes, num_slots, spare, preempted):
    scheduler = Scheduler(num_slots=num_slots, cache_tokens=18 * num_slots, step_tokens=num_slots + spare)
    everything = [sequence(id, prompt, answer) for id, (prompt, answer) in enumerate(sizes)]
    for one in everything:
        scheduler.add(one)
    for _ in range(1000):
        if scheduler.is_idle:
            break
        plan = scheduler.schedule()
        assert plan
        assert sum(work.num_tokens for work in plan) <= scheduler.step_tokens
        slots = [running.slot for running in scheduler.running]
        assert len(set(slots)) == len(slots) <= num_slots
        assert all(0 <= slot < num_slots for slot in slots)
        play(scheduler)
        if scheduler.running and preempted:
            scheduler.preempt(scheduler.running[preempted.pop() % len(scheduler.running)])
    assert scheduler.is_idle
    assert all(one.state is State.FINISHED and one.length == one.limit for one in everything)

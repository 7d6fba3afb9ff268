import pytest
import torch

from danlu.kernels import decode
from danlu.model import decoder
from danlu.model.cache import KeyValueCache
from danlu.model.config import ModelConfig
from danlu.model.decoder import choose_decoder
from danlu.model.initialise import initialise
from danlu.model.transformer import Transformer
from tests.model import material

needs_compiler = pytest.mark.skipif(decode.library()[0] is None, reason=decode.library()[1])
PLAIN = {
    "vocabulary_size": 61,
    "width": 48,
    "layers": 2,
    "heads": 4,
    "kv_heads": 2,
    "head_width": 16,
    "mlp_width": 80,
    "context_length": 40,
}
KINDS = {
    "grouped": {},
    "one group": {"kv_heads": 1},
    "full": {"kv_heads": 4},
    "biases": {"attention_bias": True},
    "qk norm": {"qk_norm": True},
    "learned positions": {"position": "learned"},
    "untied": {"tied": False},
    "odd sizes": {"width": 39, "head_width": 10, "mlp_width": 51},
    "wide heads": {"head_width": 40, "rope_theta": 1e6},
}


def build(dtype=torch.float32, **changes) -> Transformer:
    model = Transformer(ModelConfig(**{**PLAIN, **changes}))
    initialise(model, 5)
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():  # norms and biases start as ones and zeros, which would hide a mistake
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    model.to(dtype)
    model.compute_dtype = dtype
    return model.eval()


def both_ways(model: Transformer, rows: int = 5, steps: int = 3):
    """Hidden states of the same new tokens by torch and by the decoder, each with a cache of its own."""
    generator = torch.Generator().manual_seed(7)
    slots = torch.tensor([4, 0, 2, 5, 1][:rows])
    lengths = torch.tensor([1, 7, 16, 17, 31][:rows])
    caches = [KeyValueCache(model.config, 6, model.config.context_length, dtype=model.compute_dtype) for _ in range(2)]
    native, reason = choose_decoder(model, caches[1])
    assert native is not None, reason
    found = []
    with torch.inference_mode():
        prompts = torch.randint(0, 61, (rows, int(lengths.max())), generator=generator)
        positions = torch.arange(int(lengths.max())).expand(rows, -1)
        positions = positions.where(positions < lengths.unsqueeze(1), -1)
        for cache in caches:
            model(prompts, positions, cache=cache, slots=slots)
        for step in range(steps):
            ids, at = torch.randint(0, 61, (rows,), generator=generator), lengths + step
            slow = model(ids.unsqueeze(1), at.unsqueeze(1), cache=caches[0], slots=slots)[:, 0]
            fast = native.hidden(ids, at, slots)
            found.append((slow, fast, model.head(slow), native.logits(fast)))
    for ours, theirs in zip(caches[1].keys + caches[1].values, caches[0].keys + caches[0].values, strict=True):
        assert material.relative_error(ours[:, :, :-1].float(), theirs[:, :, :-1].float()) < (
            1e-5 if model.compute_dtype == torch.float32 else 2e-2
        )
    return found


@needs_compiler
@pytest.mark.parametrize("kind", KINDS)
def test_fp32_equals_the_models_own_forward(kind):
    for slow, fast, slow_logits, fast_logits in both_ways(build(**KINDS[kind])):
        assert material.relative_error(fast, slow) < 1e-5
        assert material.relative_error(fast_logits, slow_logits) < 1e-5


@needs_compiler
@pytest.mark.parametrize("kind", KINDS)
def test_bf16_is_as_near_to_fp32_as_the_models_own_forward(kind):
    model, exact = build(torch.bfloat16, **KINDS[kind]), build(**KINDS[kind])
    exact.load_state_dict({name: value.float() for name, value in model.state_dict().items()})
    for (slow, fast, *_), (wanted, *_) in zip(both_ways(model), both_ways(exact), strict=True):
        limit = 1.2 * material.relative_error(slow.float(), wanted) + 2e-3
        assert material.relative_error(fast.float(), wanted) < limit


@needs_compiler
def test_a_sequence_does_not_depend_on_its_neighbours():
    model, found = build(torch.bfloat16), []
    ids, slots, at = torch.tensor([3, 9, 27, 33, 60]), torch.tensor([4, 0, 2, 5, 1]), torch.tensor([1, 7, 16, 17, 31])
    for rows in (5, 1):
        cache = KeyValueCache(model.config, 6, model.config.context_length, dtype=torch.bfloat16)
        for index, tensor in enumerate(cache.keys + cache.values):
            tensor.normal_(generator=torch.Generator().manual_seed(index))
        native, _ = choose_decoder(model, cache)
        found.append(native.hidden(ids[:rows], at[:rows], slots[:rows]))
    assert torch.equal(found[0][:1], found[1])


@needs_compiler
def test_the_number_of_threads_changes_nothing():
    model, found = build(), []
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(torch.cat([fast for _, fast, *_ in both_ways(model)]))
    torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_torch_decodes_where_the_native_way_does_not_fit(monkeypatch):
    model = build()

    def reason(model, dtype=torch.float32) -> str:
        native, said = choose_decoder(model, KeyValueCache(model.config, 2, 8, dtype=dtype))
        assert native is None
        return said

    model.compute_dtype = torch.bfloat16
    assert "not all fp32 or all bf16" in reason(model)
    assert "not all fp32 or all bf16" in reason(build(torch.float16), torch.float16)
    monkeypatch.setattr(decoder, "library", lambda: (None, "no C compiler here"))
    assert reason(build()) == "torch: no C compiler here"


@needs_compiler
def test_weights_that_have_moved_are_left_to_torch():
    model = build()
    native, _ = choose_decoder(model, KeyValueCache(model.config, 2, 8))
    assert native.takes(2)
    with torch.no_grad():
        model.blocks[0].mlp.down.weight.mul_(2)
    assert native.takes(2), "changed in place"
    model.to(torch.bfloat16)
    assert not native.takes(2)


@needs_compiler
def test_torchs_default_dtype_changes_nothing():
    model = build()
    wanted = [fast for _, fast, *_ in both_ways(model)]
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = [fast for _, fast, *_ in both_ways(model)]
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))

"""Where this process stands among its peers, as a value that is passed and never looked up.

In: nothing; `parallel.device.discover()` makes one from torchrun's environment. Out: rank, size, device, dtype with
the reason for each choice. Called by `parallel`, `train`, `infer` and the stages. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class World:
    """`rank` of `size` processes; `device` and `dtype` as torch spells them; `reason` is printed beside them."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    device: str = "cpu"
    dtype: str = "float32"
    reason: str = "single process on the CPU"

    @property
    def is_first(self) -> bool:
        """Rank 0 writes artefacts and speaks to the terminal."""
        return self.rank == 0

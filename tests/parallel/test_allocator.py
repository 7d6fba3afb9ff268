import platform
import resource
import subprocess
import sys

import pytest

from danlu.parallel.allocator import keep_freed_memory

FREE_AND_TAKE = """
import resource, torch
from danlu.parallel.allocator import keep_freed_memory
if {keep}:
    assert keep_freed_memory("cpu")[0]
torch.set_num_threads(1)
for _ in range(40):  # the heap needs some rounds until its pieces fit
    torch.zeros(2**23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    torch.zeros(2**23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FREE_AND_TAKE.format(keep=keep)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc's allocator")
def test_memory_that_was_freed_is_taken_again_without_new_pages():
    blocks = 8 * 2**25 // resource.getpagesize()
    assert faults(keep=True) < blocks / 10
    assert faults(keep=False) > blocks / 2


def test_a_gpu_has_an_allocator_of_its_own():
    assert keep_freed_memory("cuda:0") == (False, "the device has an allocator of its own")

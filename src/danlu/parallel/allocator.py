"""What the process does with memory that a training step has freed: keep it for the next step.

Called once by whoever trains on a CPU. glibc gives large blocks back to the system as soon as they are freed, and every
step of training frees and takes gigabytes: each page is then mapped and zeroed anew. Elsewhere nothing is done.
"""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of mallopt(3), as glibc's malloc.h numbers them."""
NEVER = -1


def keep_freed_memory(device: str) -> tuple[bool, str]:
    """Tell the allocator of this process to keep what is freed; whether it could be told, and why not."""
    if device != "cpu":
        return False, "the device has an allocator of its own"
    if platform.libc_ver()[0] != "glibc":
        return False, "not glibc's allocator"
    mallopt = ctypes.CDLL(None).mallopt
    kept = mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, NEVER)
    return bool(kept), "freed memory is kept for the next step" if kept else "the allocator refused"

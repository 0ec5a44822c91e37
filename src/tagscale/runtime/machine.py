"""What the machine offers."""

import os


def cores() -> int:
    """Processor cores that this process may use; a container or a scheduler may grant fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

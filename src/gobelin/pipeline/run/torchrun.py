"""``gobelin train`` in several processes: ``torchrun --nproc-per-node 8 --no-python gobelin train OUT``.

The first process runs the stage as usual: lock, progress, summary. Its worker trains as rank 0. The other processes are
called with the same arguments. They wait until that worker begins, and train with it. The first process tells them
through the key-value store that torchrun keeps for its processes. If there is nothing to train, it tells them, and they
end.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import TCPStore

LONGEST_WAIT = timedelta(hours=6)
"""Until training begins: earlier stages may run first."""

_BEGINS, _ENDED = "begins", "ended"


def is_started_by_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether this process runs the stage."""
    return int(os.environ.get("RANK", "0")) == 0


def say_begins() -> None:
    """Tells the other processes that training begins. For the first process."""
    if is_started_by_torchrun():
        _store().set(_key(), _BEGINS)


def say_ended() -> None:
    """Tells the other processes that there is nothing more to train. For the first process."""
    if is_started_by_torchrun():
        _store().set(_key(), _ENDED)


def wait_for_the_first() -> bool:
    """Waits for the first process. Returns whether training begins."""
    return _store().get(_key()) == _BEGINS.encode()


def _key() -> str:
    return f"gobelin/train/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"


def _store() -> TCPStore:
    from torch.distributed import TCPStore

    return TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=LONGEST_WAIT,
    )  # fmt: skip

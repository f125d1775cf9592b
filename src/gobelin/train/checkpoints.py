"""Checkpoints of a training run, written asynchronously and atomically by any number of processes.

    OUT/train/checkpoint_00001000/.metadata __0_0.distcp ...   weights, optimizers, best weights (torch's own format)
                                  metrics.jsonl                the log so far
                                  state.json                   written last; without it the folder is no checkpoint

Tensors are copied, and a thread writes the copies while training continues. Each process writes its part. For an object
store, the parts are written to a local scratch folder and then uploaded. A run with another number of processes can
read them (``torch.distributed.checkpoint``).
"""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.metadata import StorageMeta

from gobelin.errors import UserError
from gobelin.store.files import delete, list_files, local_copy, make_folder, read_bytes, read_json, upload, write_bytes
from gobelin.store.paths import is_remote, join
from gobelin.train.metrics import METRICS_NAME
from gobelin.train.parallel import Processes

CHECKPOINT_PREFIX = "checkpoint_"
STATE_NAME = "state.json"

_CHECKPOINT = re.compile(rf"{CHECKPOINT_PREFIX}\d{{8}}")


@dataclasses.dataclass(frozen=True, slots=True)
class Position:
    """The state of a run, without its tensors."""

    step: int  # steps done
    position: int  # of the loader
    evaluations: tuple[tuple[int, float], ...]  # (step, held-out loss)
    has_best: bool  # whether the tensors hold weights of an earlier step, the best so far


@dataclasses.dataclass(slots=True)
class _Writing:
    """A checkpoint that is being written."""

    folder: str
    done: Future[None]
    log: bytes
    position: Position


class _Writer(dcp.FileSystemWriter):
    """Removes from ``.metadata`` what differs between equal runs: the folder's path, and a random name of the
    writer."""

    def storage_meta(self) -> StorageMeta:
        return StorageMeta()


class Checkpoints:
    """The checkpoints in a folder.

    Args:
        identity: properties that must be equal in the resumed run.
        keep: number of newest checkpoints to keep.
    """

    def __init__(self, folder: str, identity: dict[str, Any], processes: Processes, keep: int) -> None:
        self._folder, self._identity, self._processes, self._keep = folder, identity, processes, keep
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: _Writing | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or self._processes.size == 1:
            self.commit()
        self._thread.shutdown()

    @property
    def is_writing(self) -> bool:
        """Whether this process is still writing its part of a checkpoint."""
        return self._writing is not None and not self._writing.done.done()

    @property
    def newest_step(self) -> int | None:
        """The newest step among complete and unfinished checkpoints."""
        if self._writing is not None:
            return self._writing.position.step
        whole = self.whole()
        return int(whole[-1].rpartition("_")[2]) if whole else None

    def start(self, position: Position, tensors: dict[str, Tensor], log: bytes) -> None:
        """Starts writing a checkpoint. Tensors may change as soon as this returns. All processes must call it."""
        self.commit()
        folder = join(self._folder, f"{CHECKPOINT_PREFIX}{position.step:08d}")
        if self._processes.rank == 0:
            delete(folder)  # the rest of one that was not finished
        self._processes.wait()
        scratch = tempfile.TemporaryDirectory(prefix="gobelin-checkpoint-") if is_remote(folder) else None
        target = folder if scratch is None else scratch.name
        make_folder(target)
        _expect_a_single_process()
        written = dcp.async_save(
            tensors, storage_writer=_Writer(target), process_group=self._processes.checkpoints,
            no_dist=self._processes.size == 1,
        )  # fmt: skip
        assert isinstance(written, Future)
        done = self._thread.submit(_end, written, scratch, folder)
        self._writing = _Writing(folder, done, log, position)

    def commit(self) -> None:
        """Waits for all processes, completes the checkpoint, and deletes the oldest ones."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        writing.done.result()
        self._processes.wait()
        if self._processes.rank == 0:
            write_bytes(join(writing.folder, METRICS_NAME), writing.log)
            state = {**dataclasses.asdict(writing.position), "processes": self._processes.size, **self._identity}
            write_bytes(join(writing.folder, STATE_NAME), json.dumps(state, sort_keys=True, allow_nan=False).encode())
            kept = self.whole()[-self._keep :]
            for other in self._all():
                if other not in kept:
                    delete(join(other, STATE_NAME))  # first, so that what is half deleted is no checkpoint
                    delete(other)
        self._processes.wait()

    def whole(self) -> list[str]:
        """Folders of complete checkpoints, the newest last."""
        return [folder for folder, is_whole in self._all().items() if is_whole]

    def read(self) -> tuple[Position, bytes, str] | None:
        """The newest checkpoint's position, its log, and its folder for ``load``. None if there is no checkpoint.

        Raises:
            UserError: the checkpoint belongs to another run.
        """
        whole = self.whole()
        if not whole:
            return None
        state = read_json(join(whole[-1], STATE_NAME))
        given = json.loads(json.dumps(self._identity))
        changed = [name for name, value in given.items() if state.get(name) != value]
        if changed:
            raise UserError(
                f"{self._folder} holds a run with another {' and '.join(changed)}: give another output folder, "
                "or delete this one to start again"
            )
        evaluations = tuple((step, loss) for step, loss in state["evaluations"])
        position = Position(state["step"], state["position"], evaluations, state["has_best"])
        return position, read_bytes(join(whole[-1], METRICS_NAME)), whole[-1]

    def load(self, folder: str, tensors: dict[str, Tensor]) -> None:
        """Fills tensors, or a process's shards of them, from a checkpoint."""
        _expect_a_single_process()
        with local_copy(folder) as local:
            dcp.load(
                tensors, storage_reader=dcp.FileSystemReader(local), process_group=self._processes.checkpoints,
                no_dist=self._processes.size == 1,
            )  # fmt: skip

    def _all(self) -> dict[str, bool]:
        """All folders of checkpoints, the newest last, and whether each is complete."""
        found: dict[str, bool] = {}
        for name, _ in list_files(self._folder):
            folder, _, file = name.partition("/")
            if file and _CHECKPOINT.fullmatch(folder):
                address = join(self._folder, folder)
                found[address] = found.get(address, False) or file == STATE_NAME
        return found


def _end(written: Future[Any], scratch: tempfile.TemporaryDirectory[str] | None, folder: str) -> None:
    """Waits for this process's part, and uploads it from the scratch folder if there is one."""
    written.result()
    if scratch is not None:
        with scratch:
            upload(scratch.name, folder)


def _expect_a_single_process() -> None:
    """Suppresses torch's warning that it assumes a single process."""
    warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized", UserWarning)

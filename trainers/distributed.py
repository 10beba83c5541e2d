"""Several processes that train together (torchrun): each makes its share of a step's samples."""
from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numba
import torch
from torch import Tensor, distributed, nn

from streamderain.core import threads


class World:
    """The processes of a run; a single one unless torchrun says otherwise.

    Args:
        rank: number of this process.
        size: how many there are.

    Attributes:
        rank, size: as above.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over all processes."""
        grads = [p.grad for p in parameters if p.grad is not None]
        if self.size == 1 or not grads:
            return
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        distributed.all_reduce(flat)
        flat /= self.size
        for grad, part in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    def mean(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Mean of named () tensors over all processes, in one exchange."""
        stacked = torch.stack([value.detach().float() for value in values.values()]) if values else torch.zeros(0)
        if self.size > 1 and values:
            distributed.all_reduce(stacked)
            stacked /= self.size
        return dict(zip(values, stacked.tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process, so that all stop at the same step."""
        if self.size == 1:
            return flag
        shared = torch.tensor(int(flag))
        if distributed.get_backend() == "nccl":
            shared = shared.cuda()
        distributed.all_reduce(shared, distributed.ReduceOp.MAX)
        return bool(shared.item())

    def wait(self) -> None:
        """Let nobody go on before all are here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def joined(device: str) -> Iterator[tuple[World, str]]:
    """The world that torchrun's environment describes, and this process's device.

    Args:
        device: "cpu" or "cuda"; each process takes the GPU of its own number.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(), device
        return
    on_gpu = device.startswith("cuda")
    if on_gpu:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    else:
        share_cores(int(os.environ.get("LOCAL_WORLD_SIZE", size)))
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield World(distributed.get_rank(), size), device
    finally:
        distributed.destroy_process_group()


def share_cores(processes: int) -> None:
    """Let torch and Numba use this process's part of the machine's cores, at least one.

    torchrun gives torch one thread a process; the first search would start as many as there are cores in each, and
    threads that outnumber the cores wait for each other.
    """
    share = max(1, threads.started() // processes)
    numba.set_num_threads(share)
    torch.set_num_threads(share)

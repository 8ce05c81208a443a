"""One process or several, started by torchrun: the few calls that training needs.

    torchrun --nproc-per-node 4 -m clip_attribution.training.finetune ...

Every process takes its share of a batch and is given the features of the others, so that each sees
the loss of the whole batch, in the graph of its own share. No gradient passes between processes
until all are summed: a collective call in a backward pass would hang where a process has no use
for it.
"""

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

from ..errors import UserError
from ..io.output import claim


def start(device: torch.device) -> tuple[int, int]:
    """Join the group that torchrun names; (rank, number of processes), (0, 1) without one."""
    if "WORLD_SIZE" not in os.environ:
        return 0, 1
    if device.type == "cuda":
        torch.cuda.set_device(device)  # or objects of all ranks travel through the first GPU
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return dist.get_rank(), dist.get_world_size()


def local_device(device: str) -> str:
    """The device of this process: under torchrun, unless "cpu", the GPU of its own number."""
    number = os.environ.get("LOCAL_RANK")
    alone = number is None or device == "cpu" or not torch.cuda.is_available()
    return device if alone else f"cuda:{number}"


def stop() -> None:
    """Leave the group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def everyones(value, world: int) -> list:
    """The value of every process in order of their ranks: something small that pickle takes."""
    found = [value] * world
    if world > 1:
        dist.all_gather_object(found, value)
    return found


def agree(value, world: int) -> None:
    """Raise UserError, on all processes, unless all have the same value."""
    if any(other != value for other in everyones(value, world)):
        raise UserError(
            "the processes do not read the same pairs or the same output folder: both "
            "must lie on a disk that all of them see"
        )


def sum_gradients(parameters, world: int) -> None:
    """Sum the gradients of all processes; one that is missing in some of them counts as zero.

    A parameter without a gradient in any process keeps None: the optimizer passes over it, whereas
    with a gradient of zero it would decay it.
    """
    if world == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    known = torch.tensor([p.grad is not None for p in trained], dtype=torch.int32)
    known = known.to(trained[0].device)
    dist.all_reduce(known)
    for parameter, count in zip(trained, known.tolist(), strict=True):
        if count and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if count:
            dist.all_reduce(parameter.grad)


@contextmanager
def claim_first(
    receipt: Path, files: list[Path], key: str, rank: int, world: int, passing: int = 1
):
    """`claim` by the first process, for all of them; yields whether the run is finished.

    passing: how many files at the end of the list are there only while it runs.
    """
    fault, done = "", None
    with ExitStack() as stack:
        try:
            if rank == 0:
                done = stack.enter_context(claim(receipt, files[:-passing], key, files[-passing:]))
        except UserError as error:
            fault = str(error)
        fault, done = everyones((fault, done is not None), world)[0]
        if fault:
            raise UserError(fault)
        agree(key, world)
        yield done

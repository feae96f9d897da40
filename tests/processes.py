"""Two processes that train together, for the tests of what they share."""

import os
import socket


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def listening(process):
    """How many processes this one is with those below it, and the ports that they listen at."""
    found = [process, *process.children(recursive=True)]
    return len(found), [where for one in found for where in one.net_connections() if where.status == "LISTEN"]


def _member(rank, world, port, work, given):
    import torch  # not at the top: who wants a port needs none

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
    work(rank, world, *given)
    torch.distributed.destroy_process_group()


def together(work, *given):
    """``work(rank, world, *given)`` in two processes that are joined by gloo."""
    import torch.multiprocessing

    torch.multiprocessing.spawn(_member, (2, free_port(), work, given), nprocs=2)

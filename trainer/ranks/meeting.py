"""How ranks find each other, also where torchrun has started them again (`--max-restarts`).

All attempts of a torchrun share one store, and gloo would read there the addresses of ranks that have ended.
So those of an attempt agree on a prefix of their own: the lead names one, each other rank answers with a
token, and goes on once the lead has repeated it, which no lead of an earlier attempt can have done.
"""

import time
from datetime import timedelta
from uuid import uuid4

from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

SECONDS_PER_LOOK = 0.1
LEAD = "tablefold/lead"


def meet(timeout: timedelta) -> tuple[Store, int, int]:
    """Return a store that only ranks of this attempt use, this rank, and their number.

    Raises RuntimeError or ValueError where the others do not come in time or nothing says who they are.
    """
    store, rank, world_size = next(rendezvous("env://", timeout=timeout))
    end = time.monotonic() + timeout.total_seconds()
    if rank == 0:
        prefix = f"tablefold/{uuid4().hex}"
        store.set(LEAD, prefix)
        for other in range(1, world_size):
            store.set(f"{prefix}/repeated/{other}", store.get(f"{prefix}/token/{other}"))
    else:
        prefix = _named_by_lead(store, rank, end)
    return PrefixStore(prefix, store), rank, world_size


def _named_by_lead(store: Store, rank: int, end: float) -> str:
    token = uuid4().hex
    while time.monotonic() < end:
        prefix = str(store.get(LEAD).decode())
        store.set(f"{prefix}/token/{rank}", token)
        repeated = f"{prefix}/repeated/{rank}"
        if store.check([repeated]) and store.get(repeated).decode() == token:
            return prefix
        time.sleep(SECONDS_PER_LOOK)
    raise RuntimeError("rank 0 was not met in time")

"""Who waits, and who goes next."""

from tablefold.server.queue.batcher import Batcher
from tablefold.server.queue.call import Call, Claim
from tablefold.server.queue.engine_threads import EngineThreads

__all__ = ["Batcher", "Call", "Claim", "EngineThreads"]

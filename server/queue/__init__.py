"""Who waits, and who goes next."""

from tablefold.server.queue.batch import Reply
from tablefold.server.queue.batcher import Batcher
from tablefold.server.queue.engine_threads import EngineThreads

__all__ = ["Batcher", "EngineThreads", "Reply"]

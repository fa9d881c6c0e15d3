"""Runs graphs."""

from tablefold.server.engines.engine import Engine, LanedEngine, RowsEngine

__all__ = ["Engine", "LanedEngine", "RowsEngine"]

"""Runs graphs."""

from tablefold.server.engines.engine import Engine, JoiningEngine, LanedEngine, RowsEngine

__all__ = ["Engine", "JoiningEngine", "LanedEngine", "RowsEngine"]

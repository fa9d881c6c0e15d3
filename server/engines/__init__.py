"""Runs graphs."""

from tablefold.server.engines.engine import Engine, RowsEngine

__all__ = ["Engine", "RowsEngine"]

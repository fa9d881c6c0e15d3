"""Runs graphs."""

from tablefold.server.engines.engine import Engine

__all__ = ["Engine"]

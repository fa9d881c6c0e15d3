"""Versions of models, on disk and in memory."""

from tablefold.server.models.model import Model
from tablefold.server.models.repository import Repository

__all__ = ["Model", "Repository"]

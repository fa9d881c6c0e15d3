"""Ways to build row maps."""

from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.methods.builder import FeatureSize, RowMapBuilder, RowMapRequest, RowMapSize

__all__ = ["FeatureSize", "RowMap", "RowMapBuilder", "RowMapRequest", "RowMapSize"]

"""Tablefold: train recommender models with compressed tables, fold them, serve them over gRPC."""

__version__ = "0.1.0"

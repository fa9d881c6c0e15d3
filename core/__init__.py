"""Tablefold: train recommender models with compressed tables, fold them, serve them over gRPC.

    import tablefold

    schema, splits = tablefold.read_splits("SCHEMA.toml")
    config = tablefold.choose_settings(schema, splits, tablefold.TrainConfig(method="mlet"))
    checkpoint = tablefold.train(schema, splits, config, "checkpoint")
    tablefold.export(checkpoint, "repository", "model")

Names are imported when they are first used, with the libraries that they need and no others. To ask a server,
see `tablefold.client`.
"""

TYPE_CHECKING = False  # as `typing` has it, whose import takes longer than all the rest
if TYPE_CHECKING:
    from tablefold import client as client
    from tablefold.bundle import Manifest, read_manifest
    from tablefold.errors import (
        BundleError,
        CacheError,
        CheckpointError,
        LogError,
        QualityError,
        RequestError,
        SchemaError,
        TablefoldError,
        TrainingError,
        UsageError,
        VerificationError,
    )
    from tablefold.exporter.export import export
    from tablefold.exporter.footprint_forecast import footprint
    from tablefold.exporter.options import ExportOptions
    from tablefold.logs import Log, Splits, read_frame, read_rows, read_splits, split_log
    from tablefold.model_size import Footprint
    from tablefold.schema import CategoricalFeature, DenseFeature, FeatureSchema
    from tablefold.trainer.adoption.adopt import adopt
    from tablefold.trainer.adoption.torchrec import adopt_torchrec
    from tablefold.trainer.checkpoint.checkpoint import Checkpoint
    from tablefold.trainer.checkpoint.files import load as load_checkpoint
    from tablefold.trainer.checkpoint.files import save as save_checkpoint
    from tablefold.trainer.compression.compress import compress
    from tablefold.trainer.config import TrainConfig
    from tablefold.trainer.defaults.trials import choose_settings
    from tablefold.trainer.training.run import train

__version__ = "0.1.0"

__all__ = [
    "BundleError",
    "CacheError",
    "CategoricalFeature",
    "Checkpoint",
    "CheckpointError",
    "DenseFeature",
    "ExportOptions",
    "FeatureSchema",
    "Footprint",
    "Log",
    "LogError",
    "Manifest",
    "QualityError",
    "RequestError",
    "SchemaError",
    "Splits",
    "TablefoldError",
    "TrainConfig",
    "TrainingError",
    "UsageError",
    "VerificationError",
    "__version__",
    "adopt",
    "adopt_torchrec",
    "choose_settings",
    "compress",
    "export",
    "footprint",
    "load_checkpoint",
    "read_frame",
    "read_manifest",
    "read_rows",
    "read_splits",
    "save_checkpoint",
    "split_log",
    "train",
]

_MODULES = {
    "bundle": ("Manifest", "read_manifest"),
    "errors": tuple(name for name in __all__ if name.endswith("Error")),
    "exporter.export": ("export",),
    "exporter.footprint_forecast": ("footprint",),
    "exporter.options": ("ExportOptions",),
    "logs": ("Log", "Splits", "read_frame", "read_rows", "read_splits", "split_log"),
    "model_size": ("Footprint",),
    "schema": ("CategoricalFeature", "DenseFeature", "FeatureSchema"),
    "trainer.checkpoint.checkpoint": ("Checkpoint",),
    "trainer.adoption.adopt": ("adopt",),
    "trainer.compression.compress": ("compress",),
    "trainer.adoption.torchrec": ("adopt_torchrec",),
    "trainer.config": ("TrainConfig",),
    "trainer.defaults.trials": ("choose_settings",),
    "trainer.training.run": ("train",),
}
_RENAMED = {
    "load_checkpoint": ("trainer.checkpoint.files", "load"),
    "save_checkpoint": ("trainer.checkpoint.files", "save"),
}
_HOMES = {name: (module, name) for module, names in _MODULES.items() for name in names} | _RENAMED
"""Where each public name is defined, and under which name."""


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "client":
        return import_module("tablefold.client")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, defined_as = _HOMES[name]
    return getattr(import_module(f"{__name__}.{module}"), defined_as)


def __dir__() -> list[str]:
    return __all__

"""Asks a server, as a Python programmer would. Needs neither torch nor ONNX Runtime.

    from tablefold.client import Client

    with Client("127.0.0.1:8001") as client:
        probability = client.predict("ads", {"item": ["a1", "b2"]}, context={"user": 7})

Its errors are those of `tablefold.errors`: a class for each status a server answers with.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tablefold.client.async_client import AsyncClient
    from tablefold.client.client import Client
    from tablefold.client.footprint import ModelFootprint, ServerFootprint
    from tablefold.client.protocols.codec import Prediction
    from tablefold.client.replies import ModelInfo, ModelStatus
    from tablefold.client.values.arrays import EncodedIds

__all__ = [
    "AsyncClient",
    "Client",
    "EncodedIds",
    "ModelFootprint",
    "ModelInfo",
    "ModelStatus",
    "Prediction",
    "ServerFootprint",
]

_MODULES = {
    "AsyncClient": "async_client",
    "Client": "client",
    "EncodedIds": "values.arrays",
    "ModelFootprint": "footprint",
    "ModelInfo": "replies",
    "ModelStatus": "replies",
    "Prediction": "protocols.codec",
    "ServerFootprint": "footprint",
}
"""gRPC takes a while to import, so it waits until something needs it."""


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

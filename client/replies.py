"""What a server says of its models."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from tablefold.bundle import Manifest
from tablefold.client.values.arrays import EncodedIds
from tablefold.errors import BadReply, BundleError
from tablefold.protos import inference_pb2 as oip
from tablefold.protos import tablefold_pb2 as pb
from tablefold.schema import FeatureSchema


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A version of a model that takes requests."""

    name: str
    version: int
    manifest: Manifest
    """Everything that the exporter wrote of it: method, footprint, metrics, golden rows."""
    inputs_digest: str = ""
    """What the server calls the inputs; it goes with every request. Empty where it does not say."""

    @property
    def schema(self) -> FeatureSchema:
        """The features it reads."""
        return self.manifest.feature_schema

    def golden_features(self, rows: int | None = None) -> dict[str, np.ndarray | EncodedIds]:
        """Return the rows that every load of the model is checked with, as `predict` takes them.

        `rows`: the first so many. The probabilities that belong to them are `manifest.golden.probability`.
        """
        dense, ids, _ = self.manifest.golden.arrays(self.schema)
        features: dict[str, np.ndarray | EncodedIds] = {
            feature.name: column[:rows] for feature, column in zip(self.schema.dense, dense.T, strict=True)
        }
        ends = np.cumsum([feature.slots for feature in self.schema.categorical])
        for feature, part in zip(self.schema.categorical, np.split(ids, ends[:-1], axis=1), strict=True):
            features[feature.name] = EncodedIds(part[:rows])
        return features

    @classmethod
    def of(cls, reply: pb.GetModelResponse) -> Self:
        """Raises BadReply for a manifest of another release that cannot be read."""
        try:
            manifest = Manifest.parse(reply.manifest_json)
        except BundleError as error:
            raise BadReply(
                f"the server's manifest of {reply.name!r} cannot be read ({error}); "
                "is it another release of Tablefold?"
            ) from error
        return cls(
            name=reply.name, version=reply.version, manifest=manifest, inputs_digest=reply.inputs_digest
        )


@dataclass(frozen=True, kw_only=True)
class ModelStatus:
    """A version in a server's repository."""

    name: str
    version: str
    state: str
    """READY, LOADING, UNLOADING or UNAVAILABLE."""
    reason: str
    """Why it is UNAVAILABLE; empty otherwise."""

    @classmethod
    def of(cls, entry: oip.RepositoryIndexResponse.ModelIndex) -> Self:
        """From the open protocol's index."""
        return cls(name=entry.name, version=entry.version, state=entry.state, reason=entry.reason)

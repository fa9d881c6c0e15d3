"""One user, many items: the common CTR call, with the user's features given once.

    python examples/rank_items.py HOST:PORT MODEL

Asks the server which features the model reads. Of the rows that the model was checked with, the first gives
the user (half of the features, as the context), five give the items.
"""

import sys
from itertools import accumulate

import grpc
import numpy as np

from tablefold.bundle import Manifest
from tablefold.protos import tablefold_pb2 as pb
from tablefold.protos import tablefold_pb2_grpc

ITEMS = 5


def ids(name: str, values: np.ndarray) -> pb.Feature:
    """A categorical feature by name, as raw 64-bit ids."""
    return pb.Feature(name=name, ids=pb.Ids(values=values.ravel().tolist()))


def main(server: str, model: str) -> None:
    """Print the items with their click probabilities, best first."""
    with grpc.insecure_channel(server) as channel:
        tablefold = tablefold_pb2_grpc.TablefoldStub(channel)
        information = tablefold.GetModel(pb.GetModelRequest(model=model))
        manifest = Manifest.model_validate_json(information.manifest_json)
        features = manifest.feature_schema.categorical
        _, raw_ids, _ = manifest.golden.arrays(manifest.feature_schema)  # int64 [rows, columns]
        starts = accumulate((f.slots for f in features), initial=0)
        values = {f.name: raw_ids[:ITEMS, at : at + f.slots] for f, at in zip(features, starts, strict=False)}
        half = len(features) // 2
        reply = tablefold.Predict(
            pb.PredictRequest(
                model=model,
                context=[ids(f.name, values[f.name][:1]) for f in features[:half]],
                candidates=[ids(f.name, values[f.name]) for f in features[half:]],
            ),
            timeout=5,
        )
    for item in np.argsort(reply.probability)[::-1]:
        print(f"item {item}: {reply.probability[item]:.4f}")
    print(f"version {reply.version}, {reply.compute_seconds * 1e3:.2f} ms in the engine")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except grpc.RpcError as error:
        sys.exit(f"error: {error.code().name}: {error.details()}")

"""One user, many items: the common CTR call, with the user's features given once.

    python examples/rank_items.py HOST:PORT MODEL

Asks the server which features the model reads, takes the first half of them as the context and draws five
values for each of the others.
"""

import sys

import grpc
import numpy as np

from tablefold.bundle import Manifest
from tablefold.protos import tablefold_pb2 as pb
from tablefold.protos import tablefold_pb2_grpc

ITEMS = 5


def ids(name: str, values: np.ndarray) -> pb.Feature:
    """A categorical feature by name, as raw 64-bit ids."""
    return pb.Feature(name=name, ids=pb.Ids(values=values.tolist()))


def main(server: str, model: str) -> None:
    """Print the items with their click probabilities, best first."""
    with grpc.insecure_channel(server) as channel:
        tablefold = tablefold_pb2_grpc.TablefoldStub(channel)
        information = tablefold.GetModel(pb.GetModelRequest(model=model))
        features = Manifest.model_validate_json(information.manifest_json).feature_schema.categorical
        half, rng = len(features) // 2, np.random.default_rng(0)
        reply = tablefold.Predict(
            pb.PredictRequest(
                model=model,
                context=[ids(f.name, rng.integers(0, 2**32, f.slots)) for f in features[:half]],
                candidates=[ids(f.name, rng.integers(0, 2**32, ITEMS * f.slots)) for f in features[half:]],
            ),
            timeout=5,
        )
    for item in np.argsort(reply.probability)[::-1]:
        print(f"item {item}: {reply.probability[item]:.4f}")
    print(f"version {reply.version}, {reply.compute_seconds * 1e3:.2f} ms in the engine")


if __name__ == "__main__":
    main(*sys.argv[1:])

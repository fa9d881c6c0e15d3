"""The same server through KServe's own client: two tensors, raw ids.

python examples/kserve_client.py HOST:PORT MODEL
"""

import asyncio
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

COLUMNS = {"dense": 1, "ids": 5}
"""Of the tutorial's model; `ModelMetadata` has the shapes of others."""
ROWS = 3


async def main(server: str, model: str) -> None:
    """Score rows that nobody has seen: ids that the model does not know are no error."""
    rng = np.random.default_rng(0)
    values = {
        "dense": rng.lognormal(size=(ROWS, COLUMNS["dense"])).astype(np.float32),
        "ids": rng.integers(0, 2**32, (ROWS, COLUMNS["ids"])),
    }
    inputs = []
    for name, array in values.items():
        inputs.append(InferInput(name, [*array.shape], "FP32" if name == "dense" else "INT64"))
        inputs[-1].set_data_from_numpy(array)
    client = InferenceGRPCClient(server)
    try:
        reply = await client.infer(InferRequest(model, inputs))
        print(reply.outputs[0].as_numpy())
    finally:
        await client.close()


if len(sys.argv) != 3:
    sys.exit(__doc__)
asyncio.run(main(*sys.argv[1:]))

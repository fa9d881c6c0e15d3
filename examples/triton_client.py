"""The same server through NVIDIA's own client: two tensors, raw ids.

python examples/triton_client.py HOST:PORT MODEL
"""

import sys

import numpy as np
import tritonclient.grpc as triton


def main(server: str, model: str) -> None:
    """Score three rows of random values; ids that the model does not know are no error."""
    client = triton.InferenceServerClient(server)
    shapes = {tensor.name: tensor.shape for tensor in client.get_model_metadata(model).inputs}
    rng = np.random.default_rng(0)
    dense = rng.lognormal(size=(3, shapes["dense"][1])).astype(np.float32)
    ids = rng.integers(0, 2**32, (3, shapes["ids"][1]))
    inputs = [triton.InferInput("dense", dense.shape, "FP32"), triton.InferInput("ids", ids.shape, "INT64")]
    inputs[0].set_data_from_numpy(dense)
    inputs[1].set_data_from_numpy(ids)
    print(client.infer(model, inputs).as_numpy("probability"))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])

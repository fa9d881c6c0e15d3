"""The same server through NVIDIA's own client: two tensors, raw ids.

python examples/triton_client.py HOST:PORT MODEL
"""

import sys

import numpy as np
import tritonclient.grpc as triton

ROWS = 3
if len(sys.argv) != 3:
    sys.exit(__doc__)
server, model = sys.argv[1:]
rng = np.random.default_rng(0)
with triton.InferenceServerClient(server) as client:
    inputs = []
    for tensor in client.get_model_metadata(model).inputs:  # a model without dense values has only `ids`
        shape = (ROWS, tensor.shape[1])
        if tensor.name == "dense":
            values = rng.lognormal(size=shape).astype(np.float32)
        else:
            values = rng.integers(0, 2**32, shape)  # ids that the model does not know are no error
        inputs.append(triton.InferInput(tensor.name, shape, tensor.datatype))
        inputs[-1].set_data_from_numpy(values)
    print(client.infer(model, inputs).as_numpy("probability"))

"""One user, many items: the common CTR call, with the user's features given once.

    python examples/rank_items.py HOST:PORT MODEL

The values are those of the rows that the model was checked with; half of the features stand for the user.
"""

import sys

import numpy as np

from tablefold.client import Client

if len(sys.argv) != 3:
    sys.exit(__doc__)
server, model = sys.argv[1:]
with Client(server) as client:
    info = client.model_info(model)
    one_row, five_rows = info.golden_features(rows=1), info.golden_features(rows=5)
    user = dict([*one_row.items()][: len(one_row) // 2])
    items = {name: values for name, values in five_rows.items() if name not in user}
    prediction = client.predict_details(model, items, context=user)
for item in np.argsort(-prediction.probability):
    print(f"item {item}: {prediction.probability[item]:.4f}")
print(f"version {prediction.version}, {prediction.compute_seconds * 1e3:.2f} ms in the engine")

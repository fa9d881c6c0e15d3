"""`config.pbtxt`: the model in the form that Triton's ONNX Runtime backend and KServe read."""

from tablefold.schema import FeatureSchema


def render(name: str, schema: FeatureSchema) -> str:
    """Return the inputs and the output, with an explicit batch dimension."""
    return f"""name: "{name}"
backend: "onnxruntime"
max_batch_size: 0
input [
  {{ name: "dense" data_type: TYPE_FP32 dims: [ -1, {len(schema.dense)} ] }},
  {{ name: "ids" data_type: TYPE_INT64 dims: [ -1, {schema.id_columns} ] }}
]
output [
  {{ name: "probability" data_type: TYPE_FP32 dims: [ -1 ] }}
]
"""

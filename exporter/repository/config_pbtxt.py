"""`config.pbtxt`: the model in the form that Triton's ONNX Runtime backend and KServe read."""

from tablefold.schema import FeatureSchema


def render(name: str, schema: FeatureSchema) -> str:
    """Return the inputs and the output, with an explicit batch dimension.

    Triton refuses an input without columns: there is no `dense` where the schema has no dense features.
    """
    inputs = [f'{{ name: "ids" data_type: TYPE_INT64 dims: [ -1, {schema.id_columns} ] }}']
    if schema.dense:
        inputs.insert(0, f'{{ name: "dense" data_type: TYPE_FP32 dims: [ -1, {len(schema.dense)} ] }}')
    lines = ",\n  ".join(inputs)
    return f"""name: "{name}"
backend: "onnxruntime"
max_batch_size: 0
input [
  {lines}
]
output [
  {{ name: "probability" data_type: TYPE_FP32 dims: [ -1 ] }}
]
"""

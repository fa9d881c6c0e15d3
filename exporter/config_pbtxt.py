"""`config.pbtxt`: the model as Triton's ONNX Runtime backend and KServe describe one."""

from tablefold.schema import FeatureSchema


def render(name: str, schema: FeatureSchema) -> str:
    """Both inputs and the output with an explicit batch dimension."""

    def tensor(name: str, datatype: str, dims: str) -> str:
        return f'  {{ name: "{name}" data_type: {datatype} dims: [ {dims} ] }}\n'

    return (
        f'name: "{name}"\n'
        'backend: "onnxruntime"\n'
        "max_batch_size: 0\n"
        "input [\n"
        + tensor("dense", "TYPE_FP32", f"-1, {len(schema.dense)}").replace(" }\n", " },\n")
        + tensor("ids", "TYPE_INT64", f"-1, {schema.id_columns}")
        + "]\noutput [\n"
        + tensor("probability", "TYPE_FP32", "-1")
        + "]\n"
    )

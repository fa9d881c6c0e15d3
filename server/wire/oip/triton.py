"""A model in the words of Triton's extensions: its configuration and its statistics."""

from tablefold.bundle import GRAPH
from tablefold.protos import inference_pb2 as pb
from tablefold.schema import FeatureSchema
from tablefold.server.models.model import Model

MESSAGE_OVERHEAD_BYTES = 1024
"""Names, shapes and lengths of a ModelInferRequest, generously."""
VALUE_BYTES = 10
"""At most, of an int64 in typed contents; as raw bytes it takes 8."""
INT32_MAX = (1 << 31) - 1


def max_request_rows(schema: FeatureSchema, max_queue_rows: int, max_message_bytes: int) -> int:
    """Return the most rows of one request that the queue holds and a message has room for; at least 1."""
    row_bytes = 4 * len(schema.dense) + VALUE_BYTES * schema.id_columns
    fitting = (max_message_bytes - MESSAGE_OVERHEAD_BYTES) // row_bytes
    return max(1, min(max_queue_rows, fitting, INT32_MAX))


def configuration(model: Model, max_rows: int) -> pb.ModelConfig:
    """Return the configuration; `max_rows`: of one request.

    Dims are those of one row, as Triton has them for models with a largest batch size.
    """
    schema = model.manifest.feature_schema
    inputs = [pb.ModelInput(name="ids", data_type=pb.TYPE_INT64, dims=[schema.id_columns])]
    if schema.dense:
        inputs.insert(0, pb.ModelInput(name="dense", data_type=pb.TYPE_FP32, dims=[len(schema.dense)]))
    probability = pb.ModelOutput(
        name="probability", data_type=pb.TYPE_FP32, dims=[1], reshape=pb.ModelTensorReshape(shape=[])
    )
    return pb.ModelConfig(
        name=model.name,
        platform="onnxruntime_onnx",
        backend="onnxruntime",
        max_batch_size=max_rows,
        input=inputs,
        output=[probability],
        default_model_filename=GRAPH,
        dynamic_batching=pb.ModelDynamicBatching(),
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=False),
    )


def statistics(model: Model) -> pb.ModelStatistics:
    """Return the statistics since the version was loaded.

    A call counts when it is answered or has failed.
    """
    counted, failed = model.counts.sums(), model.counts.failed()

    def duration(count: float, seconds: float = 0.0) -> pb.StatisticDuration:
        return pb.StatisticDuration(count=int(count), ns=int(seconds * 1e9))

    return pb.ModelStatistics(
        name=model.name,
        version=str(model.version),
        last_inference=int(model.counts.last * 1e3),
        inference_count=int(counted.rows),
        execution_count=int(counted.batches),
        inference_stats=pb.InferStatistics(
            success=duration(counted.answered, counted.answered_seconds),
            fail=duration(sum(failed.values()), counted.failed_seconds),
            queue=duration(counted.answered, counted.queue_seconds),
            compute_input=duration(counted.answered),
            compute_infer=duration(counted.answered, counted.compute_seconds),
            compute_output=duration(counted.answered),
        ),
        # The predicted size: measuring at every poll of a tool would hold the server up.
        memory_usage=[pb.MemoryUsage(type="CPU", id=0, byte_size=model.manifest.footprint.parts.total)],
    )

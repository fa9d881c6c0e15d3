"""A model in the words of Triton's extensions: its configuration and its statistics.

Knows those messages. Does not know calls.
"""

from tablefold.bundle import GRAPH
from tablefold.protos import inference_pb2 as pb
from tablefold.server.models.model import Model


def configuration(model: Model, max_rows: int) -> pb.ModelConfig:
    """Dims are of one row, as Triton has them where there is a largest batch: here `max_rows` a request."""
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
    """Since the version was loaded; a call counts when it is answered or has failed."""
    counted = model.statistics

    def duration(count: int, seconds: float = 0.0) -> pb.StatisticDuration:
        return pb.StatisticDuration(count=count, ns=int(seconds * 1e9))

    return pb.ModelStatistics(
        name=model.name,
        version=str(model.version),
        last_inference=int(counted.last * 1e3),
        inference_count=counted.rows,
        execution_count=model.batcher.metrics.batches,
        inference_stats=pb.InferStatistics(
            success=duration(counted.answered, counted.answered_seconds),
            fail=duration(counted.failed, counted.failed_seconds),
            queue=duration(counted.answered, counted.queue_seconds),
            compute_input=duration(counted.answered),
            compute_infer=duration(counted.answered, counted.compute_seconds),
            compute_output=duration(counted.answered),
        ),
        # As predicted: to measure it at every poll of a tool would hold the server up.
        memory_usage=[pb.MemoryUsage(type="CPU", id=0, byte_size=model.manifest.footprint.parts.total)],
    )

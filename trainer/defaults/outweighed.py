"""Whether the network outweighs the tables: then it is the network that is to be made smaller."""

from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.defaults.by_log import SMALL_LAYERS
from tablefold.trainer.networks.registry import OURS

FP32 = 4


def advice_if_outweighed(checkpoint: Checkpoint) -> str | None:
    """Return a line with the bytes of the network and of the tables in fp32, if the network's are more."""
    config, layers = checkpoint.description.config, ",".join(map(str, SMALL_LAYERS))
    network = FP32 * sum(weight.numel() for weight in checkpoint.model.network.parameters())
    rows, features = checkpoint.model.collection.table.vectors, len(checkpoint.row_maps)
    narrow = rows.embedding_dim < config.dim  # then it is stored as it is, with its projections
    tables = FP32 * rows.num_embeddings * min(rows.embedding_dim, config.dim)
    tables += FP32 * features * rows.embedding_dim * config.dim * narrow
    if network <= tables:
        return None
    wide = config.network in OURS and max(config.top) > max(SMALL_LAYERS)
    remedy = f"--top {layers} --bottom {layers} makes it smaller, and " if wide else ""
    return (
        f"the network takes {network:,} bytes and the tables {tables:,}: {remedy}`tablefold export "
        "--network-type int8` stores it in about a quarter"
    )

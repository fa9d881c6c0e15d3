"""How many values a model would not know that knows ids from some count on."""

from tablefold.exporter.dictionaries.false_hits import unknown_share
from tablefold.logs import EncodedLog, Log
from tablefold.schema import MISSING, FeatureSchema
from tablefold.trainer.embedding.vocabulary import count_vocabularies, with_known_from

__all__ = ["unknown_values"]


def unknown_values(schema: FeatureSchema, known_from: int, train: EncodedLog, examples: Log) -> float:
    """Return the shares of unknown values of examples, summed over features, where those ids are known that
    training values are so often. An empty slot is no value."""
    vocabularies = count_vocabularies(with_known_from(schema, known_from), train)
    total = 0.0
    for i, (feature, vocabulary) in enumerate(zip(schema.categorical, vocabularies, strict=True)):
        values = examples.ids[:, schema.feature_of_column == i]
        total += unknown_share(vocabulary.ids, values[values != MISSING] if feature.slots > 1 else values)
    return total

"""A copy of a schema computes its own widths."""

from tablefold.schema import CategoricalFeature, Encoding, FeatureSchema


def test_a_copy_with_other_features_has_their_columns() -> None:
    users = CategoricalFeature(name="user", encoding=Encoding.INT)
    tags = CategoricalFeature(name="tags", encoding=Encoding.STRING, slots=3)
    schema = FeatureSchema(name="shop", categorical=(users, tags))
    assert (schema.id_columns, schema.feature_names) == (4, ("user", "tags"))
    copy = schema.model_copy(update={"categorical": (tags,)})
    assert (copy.id_columns, copy.feature_names) == (3, ("tags",))

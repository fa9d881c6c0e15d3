"""A copy of a schema computes its own widths."""

from tablefold.schema import CategoricalFeature, Encoding, FeatureSchema


def test_a_copy_with_other_features_has_their_columns() -> None:
    users = CategoricalFeature(name="user", encoding=Encoding.INT)
    tags = CategoricalFeature(name="tags", encoding=Encoding.STRING, slots=3)
    schema = FeatureSchema(name="shop", categorical=(users, tags))
    assert (schema.id_columns, schema.feature_names) == (4, ("user", "tags"))
    copy = schema.model_copy(update={"categorical": (tags,)})
    assert (copy.id_columns, copy.feature_names) == (3, ("tags",))
    assert copy.inputs_digest != schema.inputs_digest


def test_the_digest_of_the_inputs_differs_where_requests_would_be_read_otherwise() -> None:
    users = CategoricalFeature(name="user", encoding=Encoding.INT)
    tags = CategoricalFeature(name="tags", encoding=Encoding.STRING, slots=3)
    schema = FeatureSchema(name="shop", categorical=(users, tags))
    others = [
        (tags, users),
        (users,),
        (users.model_copy(update={"name": "item"}), tags),
        (users.model_copy(update={"encoding": Encoding.HEX32}), tags),
        (users, tags.model_copy(update={"slots": 2})),
    ]
    digests = {schema.model_copy(update={"categorical": other}).inputs_digest for other in others}
    assert len({schema.inputs_digest, *digests}) == 6
    alike = (users.model_copy(update={"min_count": 9, "optional": True}), tags)
    assert schema.model_copy(update={"categorical": alike}).inputs_digest == schema.inputs_digest

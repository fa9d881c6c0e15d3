"""The Open Inference Protocol: tensors in, probabilities out, and every refusal with its status."""

import numpy as np
import pytest

from tablefold.protos import inference_pb2 as pb


async def test_raw_tensors_give_the_models_probabilities(client, toy):
    dense, ids = toy.rows(300)
    response = await client.oip.ModelInfer(toy.request(dense, ids, id="call-7"))
    np.testing.assert_allclose(toy.probability_in(response), toy.probability(dense, ids), atol=1e-6)
    assert (response.model_name, response.model_version, response.id) == ("toy", "1", "call-7")
    assert [(o.name, o.datatype, list(o.shape)) for o in response.outputs] == [("probability", "FP32", [300])]


async def test_typed_contents_give_the_same_in_typed_contents(client, toy):
    dense, ids = toy.rows(5)
    request = pb.ModelInferRequest(model_name="toy", model_version="1")
    request.inputs.add(name="ids", datatype="INT64", shape=ids.shape).contents.int64_contents.extend(
        ids.ravel().tolist()
    )
    request.inputs.add(name="dense", datatype="FP32", shape=dense.shape).contents.fp32_contents.extend(
        dense.ravel().tolist()
    )
    request.outputs.add(name="probability")
    response = await client.oip.ModelInfer(request)
    assert not response.raw_output_contents
    np.testing.assert_allclose(
        response.outputs[0].contents.fp32_contents, toy.probability(dense, ids), atol=1e-6
    )


async def test_a_model_without_dense_features_needs_no_dense_tensor(tmp_path, toy):
    toy.write(tmp_path, schema=toy.no_dense)
    dense, ids = toy.rows(4, toy.no_dense)
    expected = toy.probability(dense, ids, schema=toy.no_dense)
    async with toy.here(tmp_path) as client:
        np.testing.assert_allclose(await client.infer(None, ids), expected, atol=1e-6)
        np.testing.assert_allclose(await client.infer(dense, ids), expected, atol=1e-6)
        metadata = await client.oip.ModelMetadata(pb.ModelMetadataRequest(name="toy"))
        assert [tensor.name for tensor in metadata.inputs] == ["ids"]


async def test_metadata_says_what_to_send(client):
    assert (await client.oip.ServerLive(pb.ServerLiveRequest())).live
    assert (await client.oip.ServerReady(pb.ServerReadyRequest())).ready
    assert (await client.oip.ModelReady(pb.ModelReadyRequest(name="toy", version="1"))).ready
    assert (await client.oip.ServerMetadata(pb.ServerMetadataRequest())).name == "tablefold"
    metadata = await client.oip.ModelMetadata(pb.ModelMetadataRequest(name="toy"))
    assert [(t.name, t.datatype, list(t.shape)) for t in (*metadata.inputs, *metadata.outputs)] == [
        ("dense", "FP32", [-1, 2]),
        ("ids", "INT64", [-1, 4]),
        ("probability", "FP32", [-1]),
    ]
    assert list(metadata.versions) == ["1"]


async def test_an_unknown_model_or_version_is_not_found_and_the_answer_says_what_there_is(client, toy):
    dense, ids = toy.rows(1)
    for call in (
        client.oip.ModelInfer(toy.request(dense, ids, model_name="other")),
        client.oip.ModelMetadata(pb.ModelMetadataRequest(name="other")),
        client.oip.ModelReady(pb.ModelReadyRequest(name="other")),
    ):
        status, text = await toy.status(call)
        assert status == "NOT_FOUND"
        assert "'other'" in text
        assert "toy:1" in text
    for version in ("2", "newest"):
        request = toy.request(dense, ids, model_version=version)
        status, text = await toy.status(client.oip.ModelInfer(request))
        assert status == "NOT_FOUND"
        assert version in text
        assert text.endswith("served: 1")


async def test_tensors_made_for_other_features_are_refused(client, toy):
    """Also where the same request was read before, without the digest or with the right one."""
    dense, ids = toy.rows(3)
    for digest, status in [
        (None, "OK"),
        (toy.schema.inputs_digest, "OK"),
        ("0" * 16, "INVALID_ARGUMENT"),
    ] * 2:
        request = toy.request(dense, ids)
        if digest is not None:
            request.parameters["inputs_digest"].string_param = digest
        assert (await toy.status(client.oip.ModelInfer(request)))[0] == status
    request.parameters["inputs_digest"].int64_param = 5
    assert (await toy.status(client.oip.ModelInfer(request)))[0] == "INVALID_ARGUMENT"


def _change(change):
    """The request of two good rows, with one thing changed."""

    def build(toy) -> pb.ModelInferRequest:
        request = toy.request(*toy.rows(2))
        change(request)
        return request

    return build


BAD = {
    "wrong dtype": (lambda r: setattr(r.inputs[1], "datatype", "INT32"), ["'ids'", "INT32", "INT64"]),
    "no dtype": (lambda r: setattr(r.inputs[0], "datatype", ""), ["'dense'", "FP32"]),
    "wrong width": (lambda r: r.inputs[0].shape.__setitem__(1, 3), ["'dense'", "[2, 3]", "[batch, 2]"]),
    "one dimension": (lambda r: r.inputs[1].shape.pop(), ["'ids'", "[batch, 4]"]),
    "negative rows": (lambda r: r.inputs[1].shape.__setitem__(0, -1), ["'ids'", "[-1, 4]"]),
    "rows beyond memory": (lambda r: r.inputs[1].shape.__setitem__(0, 1 << 62), ["'ids'", "64 bytes"]),
    "too few bytes": (lambda r: r.raw_input_contents.__setitem__(1, b"\0" * 63), ["63 bytes", "64"]),
    "other rows in dense": (
        lambda r: (r.inputs[0].shape.__setitem__(0, 1), r.raw_input_contents.__setitem__(0, b"\0" * 8)),
        ["1 rows", "2"],
    ),
    "no rows": (
        lambda r: [
            (r.inputs[i].shape.__setitem__(0, 0), r.raw_input_contents.__setitem__(i, b"")) for i in (0, 1)
        ],
        ["no rows"],
    ),
    "a blob short": (lambda r: r.raw_input_contents.pop(), ["1 raw_input_contents", "2 inputs"]),
    "no contents": (lambda r: r.ClearField("raw_input_contents"), ["'dense'", "0 fp32_contents", "4"]),
    "raw and typed": (lambda r: r.inputs[0].contents.fp32_contents.append(1), ["'dense'", "contents"]),
    "unknown input": (lambda r: setattr(r.inputs[0], "name", "denes"), ["'denes'", "'dense'"]),
    "an input twice": (lambda r: setattr(r.inputs[0], "name", "ids"), ["'ids'"]),
    "no ids": (lambda r: (r.inputs.pop(), r.raw_input_contents.pop()), ["'ids' is missing"]),
    "no dense": (lambda r: (r.inputs.pop(0), r.raw_input_contents.pop(0)), ["'dense' is missing"]),
    "unknown output": (lambda r: r.outputs.add(name="logit"), ["'logit'", "'probability'"]),
    "infinite dense": (
        lambda r: r.raw_input_contents.__setitem__(0, np.array([1, 2, 3, -np.inf], np.float32).tobytes()),
        ["row 1", "'price'", "-inf"],
    ),
}


@pytest.mark.parametrize(("change", "words"), BAD.values(), ids=BAD)
async def test_bad_input_is_refused_with_what_is_wrong_and_the_server_serves_on(client, toy, change, words):
    status, text = await toy.status(client.oip.ModelInfer(_change(change)(toy)))
    assert status == "INVALID_ARGUMENT"
    for word in words:
        assert word in text
    dense, ids = toy.rows(3)
    np.testing.assert_allclose(await client.infer(dense, ids), toy.probability(dense, ids), atol=1e-6)


async def test_bytes_that_are_no_message_are_invalid_and_never_unknown(client, toy):
    call = client.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    status, text = await toy.status(call(b"\xff\xff\xff not protobuf"))
    assert status == "INVALID_ARGUMENT"
    assert "parsed" in text


async def test_a_method_that_does_not_exist_is_unimplemented(client, toy):
    call = client.channel.unary_unary("/inference.GRPCInferenceService/Train")
    assert (await toy.status(call(b"")))[0] == "UNIMPLEMENTED"


async def test_a_huge_name_is_not_echoed_back_in_full(client, toy):
    status, text = await toy.status(
        client.oip.ModelInfer(toy.request(*toy.rows(1), model_name="x" * 100_000))
    )
    assert status == "INVALID_ARGUMENT"  # so large a message is looked at before it is parsed
    assert "longer than 1024 bytes" in text
    status, text = await toy.status(client.oip.ModelInfer(toy.request(*toy.rows(1), model_name="x" * 10_000)))
    assert status == "NOT_FOUND"
    assert len(text) < 1000


async def test_a_message_over_the_limit_is_refused(repository, toy):
    async with toy.here(repository, max_message_bytes=4096) as client:
        assert (await toy.status(client.infer(*toy.rows(500))))[0] == "RESOURCE_EXHAUSTED"
        assert len(await client.infer(*toy.rows(50))) == 50


@pytest.mark.parametrize("parameter", ["shared_memory_region", "shared_memory_byte_size", "classification"])
async def test_shared_memory_and_classification_are_not_offered_and_said_so(client, toy, parameter):
    for where in ("inputs", "outputs"):
        request = toy.request(*toy.rows(2))
        if where == "outputs":
            request.outputs.add(name="probability")
        elif parameter == "classification":
            continue
        tensor = getattr(request, where)[0]
        tensor.parameters[parameter].int64_param = 1
        del request.raw_input_contents[: where == "inputs"]
        status, text = await toy.status(client.oip.ModelInfer(request))
        assert status == "INVALID_ARGUMENT"
        assert f"{parameter!r}, which is not offered" in text
    region = toy.request(*toy.rows(2))
    del region.raw_input_contents[:]
    for tensor in region.inputs:
        tensor.parameters["shared_memory_region"].string_param = "mine"
    status, text = await toy.status(client.oip.ModelInfer(region))
    assert status == "INVALID_ARGUMENT"
    assert "'shared_memory_region', which is not offered" in text


async def test_the_largest_batch_that_is_promised_fits_into_a_message(repository, toy):
    limit = 40_000
    async with toy.here(repository, max_message_bytes=limit) as client:
        config = (await client.oip.ModelConfig(pb.ModelConfigRequest(name="toy"))).config
        rows = config.max_batch_size
        assert 500 < rows < 1000
        dense, ids = toy.rows(rows)
        ids[:] = -1  # the longest integers
        assert len(await client.infer(dense, ids)) == rows
        typed = pb.ModelInferRequest(model_name="toy")
        for name, datatype, array in (("dense", "FP32", dense), ("ids", "INT64", ids)):
            tensor = typed.inputs.add(name=name, datatype=datatype, shape=array.shape)
            field = tensor.contents.fp32_contents if name == "dense" else tensor.contents.int64_contents
            field.extend(array.ravel().tolist())
        assert typed.ByteSize() <= limit
        assert (await toy.status(client.oip.ModelInfer(typed)))[0] == "OK"

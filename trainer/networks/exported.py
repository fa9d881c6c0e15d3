"""A network from a `.pt2` file (`torch.export.save`), read without running code of it.

torch's own reader may unpickle, evaluate and execute what such a file says. This one reads its JSON and the
bytes of its weights, and calls no function but operators of ATen and arithmetic on sizes.

    <name>/models/model.json                             the graph: inputs, nodes, outputs
    <name>/data/weights/model_weights_config.json        of each weight: file, dtype, sizes
                        weight_0, ...                    their bytes
    <name>/data/constants/...                            the same of constants

Format: `torch/_export/serde/schema.py` of torch 2.13, version 8.
"""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tablefold.errors import UsageError
from tablefold.trainer.networks.exported_graph import DTYPES, Step, Unsupported, sizes_of, steps_of

FORMAT = 8
SUFFIX = ".pt2"
KINDS = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
"""Of inputs that are weights, and what has their name."""


class ExportedNetwork(nn.Module):
    """The graph of a `.pt2` file: dense float32 [B, N], vectors float32 [B, F, d] -> logit float32 [B].

    What the network did in training alone, such as dropout, is as it was when it was exported.
    """

    def __init__(
        self, weights: dict[str, Tensor], inputs: tuple[str, str], steps: list[Step], output: str
    ) -> None:
        super().__init__()
        self._inputs, self._steps, self._output = inputs, steps, output
        self._names: dict[str, str] = {}
        for number, (name, weight) in enumerate(weights.items()):
            own = f"weight_{number}"
            self._names[name] = own
            if isinstance(weight, nn.Parameter):
                self.register_parameter(own, weight)
            else:
                self.register_buffer(own, weight)

    def forward(self, dense: Tensor, vectors: Tensor) -> Tensor:
        """Return the logit of each example."""
        values: dict[str, Any] = {name: getattr(self, own) for name, own in self._names.items()}
        values |= zip(self._inputs, (dense, vectors), strict=True)
        for step in self._steps:
            step.run(values)
        logit: Tensor = values[self._output]
        return logit


def read_exported(path: Path) -> Callable[[int, int, int], nn.Module]:
    """Return a factory of the network in a `.pt2` file, with its weights; each call makes another.

    Raises UsageError for a file that cannot be read, or does what no network needs. The factory raises it for
    numbers of dense values, features, and values of a vector that the network does not take.
    """
    program = _read(path)  # what is wrong with the file is said at once

    def make(num_dense: int, num_features: int, dim: int) -> nn.Module:
        network, taken = _network(path, *program)
        given = [["batch", num_dense], ["batch", num_features, dim]]
        if taken != given:
            raise UsageError(
                f"--network {path} takes {_shown(taken)}, and the model has dense and vectors "
                f"{_shown(given)}: export it for those, any number of rows a batch (dynamic_shapes)"
            )
        return network

    _network(path, *program)
    return make


def _shown(shapes: list[list[Any]]) -> str:
    return " and ".join("[" + ", ".join(map(str, shape)) + "]" for shape in shapes)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the program and its weights by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            files = {info.filename.partition("/")[2]: info for info in archive.infolist()}
            if any(info.compress_type != zipfile.ZIP_STORED for info in files.values()):
                raise Unsupported("its parts are compressed, as torch.export.save leaves none")
            program = json.loads(archive.read(files["models/model.json"]))
            version = program["schema_version"]["major"]
            if version != FORMAT:
                raise Unsupported(f"it has format {version!r}, and this Tablefold reads {FORMAT}")
            weights = {}
            for folder in ("weights", "constants"):
                config = json.loads(archive.read(files[f"data/{folder}/model_{folder}_config.json"]))
                for name, about in config["config"].items():
                    if about["use_pickle"]:
                        raise Unsupported(f"{name} is a pickle, not a plain tensor")
                    content = archive.read(files[f"data/{folder}/{about['path_name']}"])
                    weights[name] = _tensor(content, about)
    except OSError as error:
        raise UsageError(f"--network {path} cannot be read: {error.strerror or error}") from error
    except Unsupported as error:
        raise UsageError(f"--network {path} cannot be used: {error}") from error
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, RuntimeError, RecursionError) as error:
        raise UsageError(
            f"--network {path} is no program of torch.export.save, or is damaged: "
            f"{type(error).__name__} {error}"
        ) from error
    return program, weights


def _tensor(content: bytes, about: dict[str, Any]) -> Tensor:
    meta = about["tensor_meta"]
    dtype = DTYPES.get(meta["dtype"])
    if dtype is None:
        raise Unsupported(f"a weight has the dtype number {meta['dtype']!r}")
    sizes, strides = ([int(size["as_int"]) for size in meta[name]] for name in ("sizes", "strides"))
    offset = int(meta["storage_offset"]["as_int"])
    flat = torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.zeros(0, dtype=dtype)
    tensor = flat.as_strided(sizes, strides, offset).clone(memory_format=torch.contiguous_format)
    return nn.Parameter(tensor) if about["is_param"] and dtype.is_floating_point else tensor


def _network(
    path: Path, program: dict[str, Any], weights: dict[str, Tensor]
) -> tuple[ExportedNetwork, list[list[Any]]]:
    """Return the network, its weights a copy, and the shapes that it takes."""
    try:
        module, graph = program["graph_module"], program["graph_module"]["graph"]
        held, inputs = {}, []
        for spec in module["signature"]["input_specs"]:
            [(kind, about)] = spec.items()
            if kind in KINDS:
                weight = weights[about[KINDS[kind]]]
                copy = weight.detach().clone()
                held[about["arg"]["name"]] = nn.Parameter(copy) if isinstance(weight, nn.Parameter) else copy
            elif kind == "user_input" and "as_tensor" in about["arg"]:
                inputs.append(about["arg"]["as_tensor"]["name"])
            else:
                raise Unsupported(f"it has an input that is no tensor ({kind})")
        if len(inputs) != 2:
            raise Unsupported(f"it takes {len(inputs)} tensors, and must take two, dense and vectors")
        outputs = module["signature"]["output_specs"]
        if len(outputs) != 1 or "user_output" not in outputs[0]:
            raise Unsupported("it gives more than a logit, or changes its own weights")
        for name in inputs:
            if DTYPES.get(graph["tensor_values"][name]["dtype"]) != torch.float32:
                raise Unsupported(f"its input {name} is not float32")
        shapes = [sizes_of(graph["tensor_values"][name]) for name in inputs]
        output = outputs[0]["user_output"]["arg"]["as_tensor"]["name"]
        steps = steps_of(graph["nodes"])
        used = {output}.union(*(step.takes() for step in steps))
        held = {name: weight for name, weight in held.items() if name in used}  # tied ones are there twice
        network = ExportedNetwork(held, (inputs[0], inputs[1]), steps, output)
    except Unsupported as error:
        raise UsageError(f"--network {path} cannot be used: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"--network {path} is damaged: its graph has no valid {type(error).__name__} {error}"
        ) from error
    return network, shapes

"""Whether a request was encoded for the features that a model reads."""

from tablefold.errors import InvalidRequest
from tablefold.server.models.model import Model

INPUTS_DIGEST = "inputs_digest"
"""The parameter of a ModelInferRequest, and the field of a PredictRequest."""


def require_inputs(model: Model, digest: str) -> None:
    """Raise InvalidRequest unless this is the digest of the model's inputs.

    A server that was started again may have another model under the same number, whose ids mean other values.
    """
    if digest != model.manifest.feature_schema.inputs_digest:
        raise InvalidRequest(
            f"the request was encoded for other features than version {model.version} of model "
            f"{model.name!r} reads: ask again what it reads (GetModel)"
        )

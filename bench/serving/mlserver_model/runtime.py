"""The MLServer side of `bench.serving.mlserver`: the same ONNX file, in an environment of its own."""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    """As its documentation shows a custom model: load once, predict a request at a time."""

    async def load(self) -> bool:
        """Open the file that model-settings.json names."""
        self.session = onnxruntime.InferenceSession(
            self.settings.parameters.uri, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One run of the session for one request."""
        arrays = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        (probability,) = self.session.run(["probability"], arrays)
        output = NumpyCodec.encode_output("probability", probability)
        return InferenceResponse(model_name=self.name, outputs=[output])

"""A DLRM of Criteo's shape in PyTorch on the same GPU, and what the device can do at most.

    python -m bench.gpu.peers [--json FILE]

Its ids are rows of the table: it has no dictionary to ask. Its rows lie on the device already, or (`from the
host`) in page-locked memory. Also the rate of matrix products and of memory, which bound any model.
"""

import argparse
import itertools
from pathlib import Path

import torch

from bench.gpu.check import ROWS, Report, times

TABLE_ROWS, DIM, DENSE, FEATURES = 1_000_000, 16, 13, 26


class Dlrm(torch.nn.Module):
    """Logits of dense float32 [B, 13] and rows int64 [B, 26]."""

    def __init__(self, bottom: list[int], top: list[int]) -> None:
        super().__init__()
        vectors = FEATURES + 1
        self.table = torch.nn.Embedding(TABLE_ROWS, DIM)
        self.bottom = _layers([DENSE, *bottom, DIM])
        self.top = _layers([DIM + vectors * (vectors - 1) // 2, *top])
        self.last = torch.nn.Linear(top[-1], 1)
        self.register_buffer("pairs", torch.triu_indices(vectors, vectors, 1))

    def forward(self, dense: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Probabilities [B]."""
        low = self.bottom(torch.log1p(dense))
        vectors = torch.cat([low[:, None], self.table(rows)], 1)
        products = torch.bmm(vectors, vectors.transpose(1, 2))[:, self.pairs[0], self.pairs[1]]
        return torch.sigmoid(self.last(self.top(torch.cat([low, products], 1))))[:, 0]


def _layers(widths: list[int]) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        *(
            layer
            for width, following in itertools.pairwise(widths)
            for layer in (torch.nn.Linear(width, following), torch.nn.ReLU())
        )
    )


def main() -> None:
    """Time both ways from 1 to 65,536 rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--bottom", default="512,256,64", help="widths, as the bundles `random` have them")
    parser.add_argument("--top", default="512,256")
    given = parser.parse_args()
    report = Report(given.json)
    widths = ([int(width) for width in text.split(",")] for text in (given.bottom, given.top))
    model = Dlrm(*widths).cuda().eval()
    compiled = torch.compile(model, dynamic=False)
    with torch.inference_mode():
        big = torch.rand(2**28, device="cuda")
        half = [torch.rand(8192, 8192, device="cuda", dtype=torch.float16) for _ in range(2)]
        moved, _ = times(lambda: (big.clone(), torch.cuda.synchronize()))
        product, _ = times(lambda: (half[0] @ half[1], torch.cuda.synchronize()))
        report.tell(
            "device",
            {
                "name": torch.cuda.get_device_name(),
                "torch": torch.__version__,
                "bytes_per_second": 2 * big.nbytes / moved * 1e6,
                "fp16_flops": 2 * 8192**3 / product * 1e6,
            },
        )
        for rows in ROWS:
            dense = torch.rand(rows, DENSE, device="cuda")
            ids = torch.randint(0, TABLE_ROWS, (rows, FEATURES), device="cuda")
            found = {}
            for name, call in (("eager", model), ("compiled", compiled)):
                if name == "eager" or rows in (1, 1024, 65_536):
                    found[name] = times(lambda call=call: (call(dense, ids), torch.cuda.synchronize()))  # noqa: B023
            host = dense.cpu().pin_memory(), ids.cpu().pin_memory()
            found["eager from the host"] = times(
                lambda host=host: model(*(tensor.to("cuda", non_blocking=True) for tensor in host)).cpu()
            )
            report.tell(f"torch {rows}", found)


if __name__ == "__main__":
    main()

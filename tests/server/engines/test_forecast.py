"""What a version takes of a GPU, predicted: never less for more rows, lanes or weights."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import given
from hypothesis import strategies as st

from tablefold.bundle import Manifest, read_manifest
from tablefold.model_size import Footprint, Parts
from tablefold.server.engines.cuda.forecast import Forecast, forecast
from tests.server.conftest import BUCKETS, write_bundle

ROWS = st.integers(1, 1 << 31)
LANES = st.integers(1, 64)
BYTES = st.integers(0, 1 << 40)


@cache
def folder() -> Path:
    return write_bundle(Path(mkdtemp()))


def of(rows: int, lanes: int, weights: int) -> Forecast:
    manifest: Manifest = read_manifest(folder())
    footprint = Footprint(parts=Parts(network=weights), baseline_fp32=0)
    manifest = manifest.model_copy(update={"footprint": footprint})
    return forecast(folder(), manifest, max_rows=rows, lanes=lanes)


@given(first=st.tuples(ROWS, LANES, BYTES), more=st.tuples(ROWS, LANES, BYTES))
def test_more_rows_lanes_or_weights_never_take_less(first, more):
    larger = tuple(map(max, first, more))
    small, large = of(*first), of(*larger)
    assert small.weights <= large.weights
    assert small.work <= large.work
    assert 0 <= small.weights < small.total


@given(rows=ROWS, lanes=LANES)
def test_each_lane_has_work_memory_of_its_own_and_rows_cost_the_same_in_each(rows, lanes):
    one, two, several = of(rows, 1, 0), of(rows + 1, 1, 0), of(rows, lanes, 0)
    assert several.work == lanes * one.work
    assert (of(rows + 1, lanes, 0).work - several.work) == lanes * (two.work - one.work) > 0


def test_as_measured_for_criteos_shape():
    """On an H200, with an fp32 network of 512-256-64 and 512-256, the most that any lane took."""
    manifest = read_manifest(folder())
    schema = manifest.feature_schema.model_copy(
        update={
            "dense": list(manifest.feature_schema.dense[:1]) * 13,
            "categorical": [manifest.feature_schema.categorical[0]] * 26,
        }
    )
    manifest = manifest.model_copy(update={"feature_schema": schema})
    predicted = forecast(folder(), manifest, max_rows=65_536, lanes=1).work
    assert abs(predicted / 1_624e6 - 1) < 0.05


def test_tables_are_there_once_and_all_else_once_a_lane(tmp_path):
    folder = write_bundle(tmp_path)
    graph_tables = forecast(folder, read_manifest(folder), max_rows=1, lanes=1)
    assert graph_tables.weights == 4 * BUCKETS + 8

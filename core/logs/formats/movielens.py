"""MovieLens 1M: a folder with ratings, `users.dat` and `movies.dat`; a rating of 4 or 5 is a click.

Ratings are the original `ratings.dat` (`::` separated, no header) or a tab separated `ratings*.tsv` with a
header that names user_id, movie_id and rating; any of the files may be .gz.
"""

from pathlib import Path

import polars as pl

from tablefold.errors import LogError
from tablefold.logs.formats.parse import parse
from tablefold.logs.formats.text import read_lines, read_text
from tablefold.logs.log import Log
from tablefold.schema import CategoricalFeature, Encoding, FeatureSchema

GENRE_SLOTS = 6
"""The most genres any movie of the data set has."""

SCHEMA = FeatureSchema(
    name="movielens",
    categorical=(
        CategoricalFeature(name="user_id", encoding=Encoding.INT),
        CategoricalFeature(name="movie_id", encoding=Encoding.INT),
        CategoricalFeature(name="gender", encoding=Encoding.STRING),
        CategoricalFeature(name="age", encoding=Encoding.INT),
        CategoricalFeature(name="occupation", encoding=Encoding.INT),
        CategoricalFeature(name="zip", encoding=Encoding.STRING),
        CategoricalFeature(name="genres", encoding=Encoding.STRING, slots=GENRE_SLOTS),
    ),
)


def read(folder: Path) -> Log:
    """All ratings of the folder, each with its user's and its movie's fields. Raises LogError."""
    path = _find(folder, "ratings.dat", "ratings*.tsv")
    if ".dat" in path.suffixes:
        ratings = _read_dat(path, ["user_id", "movie_id", "rating", "timestamp"])
        header_lines = 0
    else:
        ratings = read_text(path, separator="\t", columns=None)
        header_lines = 1
    for name in ("user_id", "movie_id", "rating"):
        if name not in ratings.columns:
            raise LogError("the column is missing from the header", file=str(path), feature=name)
    rating = ratings["rating"].cast(pl.Int64, strict=False)
    bad = (~rating.is_between(1, 5)).fill_null(True).arg_true()
    if len(bad):
        raise LogError(
            f"{ratings['rating'][int(bad[0])]!r} is not a rating of 1 to 5",
            file=str(path), line=int(bad[0]) + 1 + header_lines, feature="rating",
        )  # fmt: skip
    users = _read_dat(_find(folder, "users.dat"), ["user_id", "gender", "age", "occupation", "zip"])
    movies = _read_dat(_find(folder, "movies.dat"), ["movie_id", "title", "genres"])
    frame = (
        ratings.with_columns((rating >= 4).cast(pl.Int8).alias("label"))
        .join(users, on="user_id", how="left", maintain_order="left")
        .join(movies, on="movie_id", how="left", maintain_order="left")
    )
    return parse(frame, SCHEMA, file=path, header_lines=header_lines)


def _find(folder: Path, *patterns: str) -> Path:
    for pattern in patterns:
        for path in sorted([*folder.glob(pattern), *folder.glob(f"{pattern}.gz")]):
            return path
    raise LogError(f"the folder holds no {' and no '.join(patterns)}", file=str(folder))


def _read_dat(path: Path, columns: list[str]) -> pl.DataFrame:
    lines = read_lines(path).collect().to_series()
    wrong = (lines.str.count_matches("::", literal=True) != len(columns) - 1).arg_true()
    if len(wrong):
        raise LogError(
            f"does not have {len(columns)} fields separated by '::'", file=str(path), line=int(wrong[0]) + 1
        )
    return lines.str.split_exact("::", len(columns) - 1).struct.rename_fields(columns).struct.unnest()

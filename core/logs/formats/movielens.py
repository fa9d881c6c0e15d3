"""MovieLens 1M: a folder with ratings, `users.dat` and `movies.dat`; a rating of 4 or 5 is a click.

Ratings are the original `ratings.dat` (`::` separated, no header) or a tab separated `ratings*.tsv` with a
header that names user_id, movie_id and rating; any of the files may be .gz.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from tablefold.errors import LogError
from tablefold.files.place import Place
from tablefold.logs.formats.public_files import existing
from tablefold.logs.source import LogFormat, Order, RawBatch, Source, Table
from tablefold.logs.splits import SplitRule
from tablefold.logs.tables.fields import FieldsTable
from tablefold.logs.tables.text import TextTable
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


KEYS = ("user_id", "movie_id")


@dataclass(frozen=True, kw_only=True)
class _Ratings:
    """Ratings, each with the fields of its user and its movie."""

    ratings: Table
    users: FieldsTable
    movies: FieldsTable

    @property
    def files(self) -> Sequence[Place]:
        """All three files."""
        return [*self.ratings.files, self.users.path, self.movies.path]

    def count(self) -> int:
        """Return the number of ratings. Raises LogError."""
        return self.ratings.count()

    def batches(self, columns: Sequence[str], numbers: Collection[str] = ()) -> Iterator[RawBatch]:
        """Yield the ratings in order; `columns` is not looked at. Raises LogError."""
        users, movies = _unique(self.users, "user_id"), _unique(self.movies, "movie_id")
        for batch in self.ratings.batches([*KEYS, "rating"]):
            for name in (*KEYS, "rating"):
                if name not in batch.columns:
                    file = str(batch.file)
                    raise LogError("the column is missing from the header", file=file, feature=name)
            rating = batch.frame["rating"].cast(pl.Int64, strict=False)
            wrong = (~rating.is_between(1, 5)).fill_null(True).arg_true()
            if len(wrong):
                row = int(wrong[0])
                value = batch.frame["rating"][row]
                batch.refuse(row, f"{value!r} is not a rating of 1 to 5", "rating")
            frame = (
                batch.frame.with_columns((rating >= 4).cast(pl.Int8).alias(SCHEMA.label))
                .join(users, on="user_id", how="left", maintain_order="left")
                .join(movies, on="movie_id", how="left", maintain_order="left")
            )
            yield replace(batch, frame=frame, columns=frame.columns)


def _unique(table: FieldsTable, key: str) -> pl.DataFrame:
    """Return the rows of a table. Raises LogError for a repeated key, whose join would repeat ratings."""
    frames = []
    for batch in table.batches([]):
        frames.append(batch.frame)
        repeated = (~pl.concat(frames)[key].is_first_distinct()).arg_true()
        if len(repeated):
            row = int(repeated[0]) - batch.first_row
            batch.refuse(row, f"{key} {batch.frame[key][row]} was given before", key)
    return pl.concat(frames)


def _find(folder: Place, *patterns: str) -> Place:
    for pattern in patterns:
        found: list[Place] = [*folder.glob(pattern), *folder.glob(f"{pattern}.gz")]
        if found:
            return min(found, key=lambda path: path.name)
    raise LogError(f"the folder holds no {' and no '.join(patterns)}", file=str(folder))


def _open(argument: str) -> Source:
    folder = existing(argument)
    path = _find(folder, "ratings.dat", "ratings*.tsv")
    ratings: Table = TextTable(path=path, separator="\t")
    if path.name in ("ratings.dat", "ratings.dat.gz"):
        ratings = FieldsTable(path=path, separator="::", columns=[*KEYS, "rating", "timestamp"])
    users = FieldsTable(
        path=_find(folder, "users.dat"),
        separator="::",
        columns=["user_id", "gender", "age", "occupation", "zip"],
    )
    movies = FieldsTable(
        path=_find(folder, "movies.dat"), separator="::", columns=["movie_id", "title", "genres"]
    )
    return Source(
        schema=SCHEMA,
        whole=_Ratings(ratings=ratings, users=users, movies=movies),
        rule=SplitRule.RANDOM,
        order=Order.NONE,
    )


FORMAT = LogFormat(name="movielens", argument="FOLDER", schema=SCHEMA, open=_open)

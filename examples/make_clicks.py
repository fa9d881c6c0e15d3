"""Write a click log to try Tablefold with: `clicks.csv`, and `clicks.toml`, which says what its columns are.

    python examples/make_clicks.py [--examples 100000] [--folder .]

Users like some tags and dislike others; items have tags and a price. A good model finds both.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

USERS, ITEMS, TAGS = 5_000, 1_000, ("sale", "new", "red", "blue", "summer", "kids", "sport", "home")
SCHEMA = """\
name = "clicks"
label = "click"                # 0 or 1

[files]
format = "csv"
path = "clicks.csv"            # the last tenth of its lines is kept for testing

[[dense]]                      # a number
name = "price"
transform = "log1p"

[[categorical]]                # an id
name = "user"
encoding = "string"            # or "int", "hex32"

[[categorical]]
name = "item"
encoding = "int"

[[categorical]]
name = "tags"                  # a list such as sale|red: at most three values
encoding = "string"
slots = 3
"""


def main(
    examples: Annotated[int, typer.Option(min=100, help="Lines of the log.")] = 100_000,
    folder: Annotated[Path, typer.Option(help="Where both files go.")] = Path(),
) -> None:
    """Write both files; the same call writes the same files."""
    rng = np.random.default_rng(0)
    taste = rng.normal(size=(USERS, 4))
    tag_traits = rng.normal(size=(len(TAGS), 4))
    tags_of_item = [rng.choice(len(TAGS), rng.integers(0, 4), replace=False) for _ in range(ITEMS)]
    item_traits = np.stack([tag_traits[tags].sum(0) for tags in tags_of_item])
    item_traits += rng.normal(0, 0.5, (ITEMS, 4))
    price_of_item = np.round(rng.lognormal(3, 1, ITEMS), 2)

    users, items = popular_first(rng, USERS, examples), popular_first(rng, ITEMS, examples)
    logit = (taste[users] * item_traits[items]).sum(1) * 0.6 - 0.4 * np.log1p(price_of_item[items]) - 0.5
    clicks = rng.random(examples) < 1 / (1 + np.exp(-logit))

    with (folder / "clicks.csv").open("w") as log:
        log.write("click,user,item,price,tags\n")
        for click, user, item in zip(clicks, users, items, strict=True):
            tags = "|".join(TAGS[tag] for tag in tags_of_item[item])
            log.write(f"{click:d},u{user},{item},{price_of_item[item]},{tags}\n")
    (folder / "clicks.toml").write_text(SCHEMA)
    print(f"wrote {folder / 'clicks.csv'} ({examples:,} examples) and {folder / 'clicks.toml'}")


def popular_first(rng: np.random.Generator, ids: int, draws: int) -> np.ndarray:
    """Draw ids so that the n-th is seen about 1 / n times as often as the first."""
    weight = 1 / np.arange(1, ids + 1)
    return rng.choice(ids, draws, p=weight / weight.sum())


if __name__ == "__main__":
    typer.run(main)

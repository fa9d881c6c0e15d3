"""The generated log: the same for the same number, skewed like real ids, with a best AUC that is known."""

import numpy as np
from sklearn.metrics import roc_auc_score

from tablefold.logs.formats import synthetic
from tablefold.schema import MISSING


def test_a_short_log_is_the_beginning_of_a_long_one() -> None:
    short, long = synthetic.generate(1000), synthetic.generate(70_000)
    assert np.array_equal(short.ids, long.ids[:1000])
    assert np.array_equal(short.dense, long.dense[:1000], equal_nan=True)
    assert np.array_equal(short.labels, long.labels[:1000])
    other = synthetic.generate(1000, seed=1)
    assert not np.array_equal(short.ids, other.ids)


def test_the_bayes_auc_is_the_auc_of_the_true_probability() -> None:
    log, probability = synthetic.generate_with_probability(60_000)
    sampled = roc_auc_score(log.labels, probability)
    assert abs(synthetic.bayes_auc(probability) - sampled) < 0.006
    assert 0.75 < sampled < 0.9
    assert abs(synthetic.bayes_auc(np.full(10, 0.3)) - 0.5) < 1e-12


def test_ids_look_like_criteos() -> None:
    log = synthetic.generate(20_000)
    ids = log.ids[log.ids != MISSING]
    assert ids.min() >= 0
    assert ids.max() < 2**32
    _, counts = np.unique(log.ids[:, 2], return_counts=True)
    assert counts.max() > 0.05 * len(log)
    assert (counts == 1).mean() > 0.4
    assert (log.ids[:, 2] == MISSING).any()
    assert np.isnan(log.dense).any()

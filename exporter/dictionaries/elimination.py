"""Equations of three unknowns each, modulo 2^w: peeled, and what does not peel solved exactly.

A key stands for an equation: the words of its three slots sum up to its value. A key with a slot of its own
can wait until the others are solved; taking such keys away frees further slots (peeling). Peeling alone needs
1.23 slots a key where keys are few. So a key that is in the way is deferred, and peeling goes on. Deferred
keys, a few percent, are solved by Gaussian elimination over the slots that peeling left free (inactivation
decoding, Shokrollahi and Luby 2011; for static functions, Genuzio et al. 2016). Then 1.09 slots a key are
enough.
"""

from dataclasses import dataclass

import numpy as np

DEFER_UP_TO_KEYS = 1 << 17
"""The time that elimination takes grows faster than the keys, and many keys peel well by themselves."""
WORD = np.uint16
"""The widest word; a sum modulo 2^16 is one modulo 2^8 as well."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Order:
    """The order in which keys are solved, from last to first."""

    rounds: list[tuple[np.ndarray, np.ndarray]]
    """Round by round: keys, and the slots that they alone use of those that are left."""
    deferred: np.ndarray
    """int64: the keys that are solved first, all at once."""


def order(slots: np.ndarray, num_slots: int) -> Order | None:
    """Return the order for keys with the slots int32 [3, n]; None where there are too many and some stay."""
    keys = slots.shape[1]
    users = np.zeros(num_slots, np.int32)
    user = np.zeros(num_slots, np.int64)  # the sum of a slot's keys: the key itself once only one is left
    for row in slots:
        users += np.bincount(row, minlength=num_slots).astype(np.int32)
        user += np.bincount(row, np.arange(keys), num_slots).astype(np.int64)  # below 2^53, hence exact
    left, waiting = keys, np.ones(keys, bool)
    rounds: list[tuple[np.ndarray, np.ndarray]] = []
    deferred: list[int] = []
    own = np.flatnonzero(users == 1)
    while left:
        if len(own):
            taken, first = np.unique(user[own], return_index=True)
            rounds.append((taken, own[first]))
        elif keys > DEFER_UP_TO_KEYS:
            return None
        else:
            crowded = int((users == 2).argmax())  # one key less, and the other has it for itself
            if users[crowded] != 2:
                crowded = int((users > 2).argmax())
            taken = np.flatnonzero((slots == crowded).any(axis=0) & waiting)[:1]
            deferred.append(int(taken[0]))
        waiting[taken] = False
        left -= len(taken)
        touched = slots[:, taken].ravel()
        np.subtract.at(users, touched, 1)
        np.subtract.at(user, touched, np.tile(taken, 3))
        own = np.unique(touched[users[touched] == 1])
    return Order(rounds=rounds, deferred=np.array(deferred, np.int64))


def solve_deferred(
    found: Order, slots: np.ndarray, values: list[np.ndarray], planes: list[np.ndarray]
) -> bool:
    """Set words of `planes` so that the deferred keys have their values once the others have theirs.

    Return False where these equations have no solution.
    """
    count = len(found.deferred)
    uses = np.zeros((len(planes[0]), count), WORD)  # how often the equation of a deferred key has a slot
    for row in slots:
        np.add.at(uses, (row[found.deferred], np.arange(count)), 1)
    sums = np.stack([value[found.deferred].astype(WORD) for value in values])
    free = np.ones(len(uses), bool)
    for keys, own in found.rounds:  # put a key's equation in for its own slot
        free[own] = False
        some = uses[own].any(axis=1)
        users, times = keys[some], uses[own[some]]
        for row in slots:
            np.subtract.at(uses, row[users], times)
        sums -= np.stack([value[users].astype(WORD) @ times for value in values])
    unknown = np.flatnonzero(free)
    words = np.stack([plane[unknown].astype(WORD) for plane in planes])
    if not _solve(uses[unknown].T.copy(), sums, words):
        return False
    for plane, solved in zip(planes, words, strict=True):
        plane[unknown] = solved.astype(plane.dtype)
    return True


def _solve(times: np.ndarray, sums: np.ndarray, words: np.ndarray) -> bool:
    """Change some of `words` [P, f] so that times [d, f] @ words[p] is sums[p] [d], modulo 2^16.

    A number has an inverse there if it is odd. Return False where an equation has none left.
    """
    pivots = np.empty(len(times), np.int64)
    for i in range(len(times)):
        equation = times[i]
        odd = equation & 1
        pivots[i] = pivot = int(odd.argmax())
        if not odd[pivot]:
            return False
        inverse = WORD(pow(int(equation[pivot]), -1, 1 << 16))
        equation *= inverse
        sums[:, i] *= inverse
        below = i + 1 + np.flatnonzero(times[i + 1 :, pivot])
        factor = times[below, pivot]
        times[below] -= factor[:, None] * equation
        sums[:, below] -= sums[:, i, None] * factor
    for i in range(len(times) - 1, -1, -1):
        words[:, pivots[i]] += sums[:, i] - words @ times[i]
    return True

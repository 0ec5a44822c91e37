"""Stratification over all tags at once: whole artists into parts, and training tracks into an order.

Both are greedy on one chi-square distance: the sum over the features below of (present - due)^2 / due. That is the
idea of Sechidis et al. 2011 ("On the stratification of multi-label data": the next item goes to the part that lacks
its labels most, rarest labels first), carried over to groups and to fractional labels. A step costs one small
matrix-vector product, so a million tracks take minutes. Costs are rounded before they are compared, so that the last
bits of a sum, which differ between machines, decide nothing.
"""

import numpy as np

REGRESSION_BINS = 3
SWEEPS = 4  # of the local search; after these hardly any artist moves
SWEEP_ARTISTS = 10_000  # offered a change in one sweep; with more artists the greedy result is close already
PARTNERS = 32  # artists of other parts that each artist is compared with for a swap
UNCOVERED = 10.0  # cost of a tag without any positive in one part, in units of the distance
CANDIDATES = 512  # tracks that compete for the next place; must exceed the features, or the unwanted fill it
ORDERED_TRACKS = 200_000  # the order is random from here on: a prefix this long is close to the whole anyway


def features(labels: np.ndarray, kinds: list[str]) -> np.ndarray:
    """What is to be balanced, as non-negative amounts per track: float32, (tracks, features).

    Features: the track itself (1), always the first; each classification label; each regression label as membership
    of its lower, middle or upper third; and whether a tag is annotated, where it is not everywhere.

    Args:
        labels: (tracks, tags) in [0, 1], NaN = not annotated.
        kinds: classification or regression, one a tag.
    """
    columns = [np.ones(len(labels), np.float32)]
    masks: dict[bytes, np.ndarray] = {}  # tags annotated on the same tracks share one
    for values, kind in zip(labels.T, kinds, strict=True):
        there = ~np.isnan(values)
        if kind == "classification":
            columns.append(np.where(there, values, 0).astype(np.float32))
        elif there.any():
            borders = np.quantile(values[there], np.arange(1, REGRESSION_BINS) / REGRESSION_BINS)
            third = np.searchsorted(borders, values)
            columns.extend((there & (third == i)).astype(np.float32) for i in range(REGRESSION_BINS))
        if not there.all():
            masks[np.packbits(there).tobytes()] = there.astype(np.float32)
    stacked = np.stack([*columns, *masks.values()], axis=1)
    return stacked[:, stacked.any(axis=0)]


class _Balance:
    """How far the parts are from their shares while artists come and go."""

    def __init__(self, amounts: np.ndarray, positive: np.ndarray, shares: np.ndarray) -> None:
        total = amounts.sum(axis=0)
        self.weight = 1 / total
        self.weight[0] *= max(amounts.shape[1] / 4, 1)  # the parts' sizes count as a quarter of the features do
        self.amounts, self.positive, self.shares = amounts, positive, shares
        self.scaled = amounts * self.weight  # (artists, features)
        self.own = np.einsum("af,af->a", amounts, self.scaled)  # an artist's own term of the distance
        self.part_of = np.full(len(amounts), -1)
        self.lacking = shares[:, None] * total  # (parts, features): due minus present
        self.carriers = np.zeros((len(shares), positive.shape[1]))  # (parts, tags): artists with a positive track
        self.artists = np.zeros(len(shares), np.int64)

    def put(self, artist: int, part: int) -> None:
        """Put an artist into a part, out of the one where it is, if any."""
        for place, sign in ((self.part_of[artist], -1), (part, 1)):
            if place >= 0:
                self.lacking[place] -= sign * self.amounts[artist]
                self.carriers[place] += sign * self.positive[artist]
                self.artists[place] += sign
        self.part_of[artist] = part

    def cost(self, artist: int) -> np.ndarray:
        """What the distance grows by when an artist that is nowhere comes to each part: (parts,)."""
        return ((self.own[artist] - 2 * (self.lacking @ self.scaled[artist])) / self.shares).round(9)

    def move_gains(self, artist: int) -> np.ndarray:
        """What is won when the artist goes from its part to each part: (parts,), zero for its own."""
        here = self.part_of[artist]
        lacking, carriers = self.lacking.copy(), self.carriers.copy()
        lacking[here] += self.amounts[artist]
        carriers[here] -= self.positive[artist]
        cost = (self.own[artist] - 2 * (lacking @ self.scaled[artist])) / self.shares
        cost -= UNCOVERED * ((carriers == 0) @ self.positive[artist])
        return (cost[here] - cost).round(9)

    def swap_gains(self, artist: int, partners: np.ndarray) -> np.ndarray:
        """What is won when the artist changes places with each partner, who are in other parts: (partners,)."""
        here, there = self.part_of[artist], self.part_of[partners]
        change = self.amounts[artist] - self.amounts[partners]  # (partners, features), what their parts gain
        scaled = change * self.weight
        squares = np.einsum("pf,pf->p", change, scaled)
        growth = (squares - 2 * np.einsum("pf,pf->p", scaled, self.lacking[there])) / self.shares[there]
        growth += (squares + 2 * (scaled @ self.lacking[here])) / self.shares[here]
        tags = self.positive[artist] - self.positive[partners]  # (partners, tags)
        uncovered = (self.carriers[there] + tags == 0).sum(axis=1) - (self.carriers[there] == 0).sum(axis=1)
        uncovered += (self.carriers[here] - tags == 0).sum(axis=1) - (self.carriers[here] == 0).sum()
        return -(growth + UNCOVERED * uncovered).round(9)


def artist_parts(amounts: np.ndarray, positive: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """A part for every artist, such that each part comes close to its share of every feature: int, (artists,).

    Heavy artists (many tracks, rare labels) come first, in an order that the seed shuffles among artists of similar
    weight; each goes where it is cheapest, and small artists fill the gaps. Then artists move, or change places in
    pairs, as long as that reduces the distance or the number of tags without a positive track in some part.

    Args:
        amounts: (artists, features), sums of `features` over each artist's tracks.
        positive: (artists, tags), 1 where the artist has a positive track.
        shares: (parts,), adding up to 1. There must be at least as many artists as parts; no part stays empty.
    """
    random = np.random.default_rng(seed)
    state = _Balance(amounts.astype(np.float64), positive.astype(np.float64), shares)
    for artist in np.lexsort((random.random(len(amounts)), -np.floor(np.log2(state.own)))):
        state.put(artist, int(state.cost(artist).argmin()))
    for part in np.flatnonzero(state.artists == 0):
        among = np.flatnonzero(state.part_of == state.artists.argmax())
        state.put(int(among[state.own[among].argmin()]), int(part))
    for _ in range(SWEEPS):
        if not _sweep(state, random):
            break
    return state.part_of


def _sweep(state: _Balance, random: np.random.Generator) -> bool:
    """Offer artists a move, or a swap with one of a random few; returns whether anything changed."""
    changed = False
    for artist in random.permutation(len(state.part_of))[:SWEEP_ARTISTS]:
        here = state.part_of[artist]
        gains = state.move_gains(artist)
        if gains.max() > 0 and state.artists[here] > 1:
            state.put(artist, int(gains.argmax()))
            changed = True
            continue
        partners = random.integers(0, len(state.part_of), PARTNERS)
        partners = partners[state.part_of[partners] != here]
        gains = state.swap_gains(artist, partners)
        if len(partners) and gains.max() > 0:
            partner = int(partners[gains.argmax()])
            state.put(artist, state.part_of[partner])
            state.put(partner, here)
            changed = True
    return changed


def balanced_order(amounts: np.ndarray, seed: int) -> np.ndarray:
    """An order of the tracks in which every prefix comes close to the whole in every feature: int, (tracks,).

    The next track is the one, of a changing random sample of those left, that brings the sums so far closest to their
    due. Close means: the amounts of a prefix are off by about one track's, whatever its length.

    Args:
        amounts: (tracks, features) as of `features`.
    """
    random = np.random.default_rng(seed)
    amounts = amounts[:, amounts.any(axis=0)]
    mean = amounts.mean(axis=0, dtype=np.float64)
    stream = random.permutation(len(amounts))
    competing = stream[:CANDIDATES].copy()
    pool = (amounts[competing] - mean) / np.sqrt(mean)  # (candidates, features), what each would add to the imbalance
    norm = np.einsum("cf,cf->c", pool, pool)
    imbalance = np.zeros(len(mean))
    order: list[int] = []
    for following in range(len(competing), len(competing) + min(len(stream), ORDERED_TRACKS)):
        best = int((2 * (pool @ imbalance) + norm).round(6).argmin())
        order.append(int(competing[best]))
        imbalance += pool[best]
        if following < len(stream):
            competing[best] = stream[following]
            pool[best] = (amounts[competing[best]] - mean) / np.sqrt(mean)
            norm[best] = pool[best] @ pool[best]
        else:
            norm[best] = np.inf  # taken, and nobody follows
    rest = [competing[np.isfinite(norm)], stream[len(competing) + ORDERED_TRACKS :]]
    return np.concatenate([np.array(order, np.int64), *rest])

"""Stratification over all tags at once: whole artists into parts, and training tracks into an order.

Both are greedy on one chi-square distance: the sum over the features (features.py) of (present - due)^2 / due. The
idea is that of Sechidis et al. 2011 ("On the stratification of multi-label data": the next item goes to the part that
lacks its labels most, rarest labels first), carried over to groups and to fractional labels. A step costs one small
matrix-vector product, so a million tracks take minutes. Costs are rounded before they are compared: the last bits
of a sum differ between machines, and must decide nothing.
"""

import numpy as np

SWEEPS = 4  # of the local search; hardly any artist moves after these
SWEEP_ARTISTS = 10_000  # that one sweep visits; with more artists the greedy result is close already
PARTNERS = 32  # artists of other parts that each artist is compared with for a swap
UNCOVERED = 10.0  # cost of a tag without any positive in one part, in units of the distance
CANDIDATES = 512  # tracks that compete for the next place; must exceed the features, or the unwanted fill it
ORDERED_TRACKS = 200_000  # the order is random from here on: a prefix this long is close to the whole anyway


class _Balance:
    """The distance of the parts from their shares, updated as artists move."""

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

    def settle(self, part_of: np.ndarray) -> None:
        """Put all artists into their parts at once, before any other is put; -1 = no part."""
        self.part_of = part_of.copy()
        members = (part_of == np.arange(len(self.shares))[:, None]).astype(np.float64)  # (parts, artists)
        self.lacking -= members @ self.amounts
        self.carriers += members @ self.positive
        self.artists += members.sum(axis=1).astype(np.int64)

    def put(self, artist: int, part: int) -> None:
        """Put an artist into a part, and take it out of its present one, if any."""
        for place, sign in ((self.part_of[artist], -1), (part, 1)):
            if place >= 0:
                self.lacking[place] -= sign * self.amounts[artist]
                self.carriers[place] += sign * self.positive[artist]
                self.artists[place] += sign
        self.part_of[artist] = part

    def cost(self, artist: int) -> np.ndarray:
        """Growth of the distance when an artist without a part comes to each part: (parts,)."""
        return ((self.own[artist] - 2 * (self.lacking @ self.scaled[artist])) / self.shares).round(9)

    def move_gains(self, artist: int) -> np.ndarray:
        """Gain when the artist moves from its part to each part: (parts,), zero for its own."""
        here = self.part_of[artist]
        lacking, carriers = self.lacking.copy(), self.carriers.copy()
        lacking[here] += self.amounts[artist]
        carriers[here] -= self.positive[artist]
        cost = (self.own[artist] - 2 * (lacking @ self.scaled[artist])) / self.shares
        cost -= UNCOVERED * ((carriers == 0) @ self.positive[artist])
        return (cost[here] - cost).round(9)

    def swap_gains(self, artist: int, partners: np.ndarray) -> np.ndarray:
        """Gain when the artist changes places with each partner, who are in other parts: (partners,)."""
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


def artist_parts(
    amounts: np.ndarray, positive: np.ndarray, shares: np.ndarray, seed: int, fixed: np.ndarray | None = None
) -> np.ndarray:
    """A part for every artist, such that each part comes close to its share of every feature: int, (artists,).

    Heavy artists (many tracks, rare labels) come first, in an order that the seed shuffles among artists of similar
    weight; each goes where it is cheapest, and small artists fill the gaps. Then artists move, or change places in
    pairs, as long as that reduces the distance or the number of tags without a positive track in some part.

    Args:
        amounts: (artists, features), sums of `Features` over each artist's tracks.
        positive: (artists, tags), 1 where the artist has a positive track.
        shares: (parts,), adding up to 1. No part stays empty as long as there are artists to fill it with.
        fixed: (artists,), the part of artists that stay where they are, -1 for those to be placed around them.
    """
    random = np.random.default_rng(seed)
    state = _Balance(amounts.astype(np.float64), positive.astype(np.float64), shares)
    if fixed is not None:
        state.settle(fixed)
    free = np.flatnonzero(state.part_of < 0)
    for artist in free[np.lexsort((random.random(len(free)), -np.floor(np.log2(state.own[free]))))]:
        state.put(artist, int(state.cost(artist).argmin()))
    for part in np.flatnonzero(state.artists == 0):
        movable = free[state.artists[state.part_of[free]] > 1]
        if len(movable):
            counts = np.where(np.bincount(state.part_of[movable], minlength=len(shares)) > 0, state.artists, 0)
            among = movable[state.part_of[movable] == counts.argmax()]
            state.put(int(among[state.own[among].argmin()]), int(part))
    for _ in range(SWEEPS):
        if not _sweep(state, free, random):
            break
    return state.part_of


def _sweep(state: _Balance, free: np.ndarray, random: np.random.Generator) -> bool:
    """Move each free artist, or swap it with one of a random few, where that helps; returns whether any moved."""
    changed = False
    for artist in free[random.permutation(len(free))[:SWEEP_ARTISTS]]:
        here = state.part_of[artist]
        gains = state.move_gains(artist)
        if gains.max() > 0 and state.artists[here] > 1:
            state.put(artist, int(gains.argmax()))
            changed = True
            continue
        partners = free[random.integers(0, len(free), PARTNERS)]
        partners = partners[state.part_of[partners] != here]
        gains = state.swap_gains(artist, partners)
        if len(partners) and gains.max() > 0:
            partner = int(partners[gains.argmax()])
            state.put(artist, state.part_of[partner])
            state.put(partner, here)
            changed = True
    return changed


def balanced_order(amounts: np.ndarray, seed: int, before: np.ndarray | None = None) -> np.ndarray:
    """An order of the tracks in which every prefix comes close to the whole in every feature: int, (tracks,).

    The next track is the one, of a changing random sample of those left, that brings the sums so far closest to their
    due. Close means: the amounts of a prefix are off by about one track's, whatever its length.

    Args:
        amounts: (tracks, features) as of `Features`; the first counts the track itself.
        before: (features,), sums over tracks that come before all of these; they are part of the whole.
    """
    random = np.random.default_rng(seed)
    before = np.zeros(amounts.shape[1]) if before is None else before
    total = amounts.sum(axis=0, dtype=np.float64) + before
    some = np.flatnonzero(total)
    mean = total[some] / (len(amounts) + before[0])
    scale = np.sqrt(mean)
    stream = random.permutation(len(amounts))
    competing = stream[:CANDIDATES].copy()
    pool = (amounts[competing][:, some] - mean) / scale  # (candidates, features): what each would add to the imbalance
    norm = np.einsum("cf,cf->c", pool, pool)
    imbalance = (before[some] - before[0] * mean) / scale
    order: list[int] = []
    for following in range(len(competing), len(competing) + min(len(stream), ORDERED_TRACKS)):
        best = int((2 * (pool @ imbalance) + norm).round(6).argmin())
        order.append(int(competing[best]))
        imbalance += pool[best]
        if following < len(stream):
            competing[best] = stream[following]
            pool[best] = (amounts[competing[best]][some] - mean) / scale
            norm[best] = pool[best] @ pool[best]
        else:
            norm[best] = np.inf  # taken, and no track is left to replace it
    rest = [competing[np.isfinite(norm)], stream[len(competing) + ORDERED_TRACKS :]]
    return np.concatenate([np.array(order, np.int64), *rest])

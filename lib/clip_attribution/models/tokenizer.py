"""CLIP's own tokenizer, in time n log n for a word of n letters, with the same result."""

import heapq

from open_clip.tokenizer import SimpleTokenizer

SHORT = 64  # bytes: below, open_clip's own loop is as fast, and remembers its words


class LinearTokenizer(SimpleTokenizer):
    """open_clip's SimpleTokenizer, whose loop over merges is quadratic in the length of a word."""

    def bpe(self, token: str) -> str:
        """The pieces of one pre-token, with spaces between."""
        if len(token) <= SHORT:
            return super().bpe(token)
        return " ".join(merged([*token[:-1], token[-1] + "</w>"], self.bpe_ranks))


def merged(pieces: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """Merge neighbours, the lowest rank first and of equal ones the leftmost.

    A piece exists from the merge on that made it, so that no new pair has a lower rank than that:
    one merge after the other gives what open_clip's rounds over all places of a pair give.
    """
    end = len(pieces)
    after, before = [*range(1, end + 1)], [*range(-1, end - 1)]
    gone = [False] * end
    heap: list[tuple[int, int, str, str]] = []

    def offer(left: int, right: int) -> None:
        if left >= 0 and right < end and (pair := (pieces[left], pieces[right])) in ranks:
            heapq.heappush(heap, (ranks[pair], left, *pair))

    for place in range(end - 1):
        offer(place, place + 1)
    while heap:
        _, left, first, second = heapq.heappop(heap)
        right = after[left]
        if gone[left] or pieces[left] != first or right >= end or pieces[right] != second:
            continue  # one of them has become part of another piece
        pieces[left], gone[right] = first + second, True
        after[left] = after[right]
        if after[right] < end:
            before[after[right]] = left
        offer(before[left], left)
        offer(left, after[left])
    return [piece for piece, lost in zip(pieces, gone, strict=True) if not lost]

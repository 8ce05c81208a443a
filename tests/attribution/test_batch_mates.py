"""A row has the same values whatever stands beside it, to the tolerance that the README states."""

import numpy as np
import pandas as pd
import pytest
import tiny

from clip_attribution import attribute, load_clip

ATTRIBUTION, COSINE = 1e-7, 1e-6
CAPTIONS = ["a red cup on a table", "two dogs", "an old boat near a large green tree by the sea"]


@pytest.fixture(scope="module")
def clips():
    return {"embedded": load_clip(), "tiny": load_clip(model_config=tiny.config(), device="cpu")}


def odd_captions(rng, count):
    """Captions of odd letters and lengths."""
    letters = list("abc é漢🙂.,'\"&;<>/\\{}0123456789-_\t\u2028")
    return ["x" + "".join(rng.choice(letters, rng.integers(1, 120))) for _ in range(count)]


@pytest.mark.parametrize("name", ["embedded", "tiny"])
@pytest.mark.parametrize("beside", ["nothing", "odd", "itself", "shards", "batches"])
def test_what_stands_beside_a_row_does_not_count(clips, name, beside):
    clip, rng = clips[name], np.random.default_rng(1)
    rows = pd.DataFrame(
        [
            {
                "pair_id": f"{n}",
                "image": f"scene:5:{n % 4}",
                "caption": CAPTIONS[n % 3] + " far" * n,
            }
            for n in range(12)
        ]
    )
    words, pairs = attribute(clip, rows)
    if beside == "nothing":
        found = [attribute(clip, rows.iloc[[n]]) for n in range(len(rows))]
    elif beside == "shards":
        found = [attribute(clip, rows.iloc[n : n + 5]) for n in range(0, len(rows), 5)]
    elif beside == "batches":
        found = [attribute(clip, rows, batch_size=3)]
    else:
        other = rows if beside == "itself" else rows.assign(caption=odd_captions(rng, len(rows)))
        other = other.assign(pair_id=[f"other {n}" for n in range(len(other))])
        found = [
            attribute(clip, pd.concat([other, rows, other.iloc[::-1].assign(pair_id=range(12))]))
        ]
    found_words, found_pairs = (
        pd.concat([part[number] for part in found]).query(
            "pair_id in @ids", local_dict={"ids": set(rows["pair_id"])}
        )
        for number in (0, 1)
    )
    assert found_words["word"].tolist() == words["word"].tolist()
    seen = words["seen"].to_numpy()
    gap = np.abs(found_words["attribution"].to_numpy() - words["attribution"].to_numpy())
    assert gap[seen].max() <= ATTRIBUTION
    assert np.abs(found_pairs["cosine"].to_numpy() - pairs["cosine"].to_numpy()).max() <= COSINE

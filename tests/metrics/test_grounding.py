"""Grounding measures: hand-computed cases, a slow oracle, and properties under mirroring."""

import grounding_oracles as slow
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from clip_attribution.errors import UserError
from clip_attribution.metrics.grounding import (
    METRICS,
    baseline_maps,
    baseline_metrics,
    grounding_metrics,
    prepare,
    stream_metrics,
    summarise,
    uncertainty_sweep,
)
from clip_attribution.metrics.maps import check_boxes, distance_maps
from clip_attribution.metrics.overlap import WDP_FORMS, Sums, wdp
from clip_attribution.metrics.rows import CHUNK

BOUNDED = [name for name in METRICS if name != "pg_ties"]


def one(heat, boxes, size=None, **options) -> pd.Series:
    """The row of a single map, by default at the image's own size."""
    heat = np.asarray(heat, dtype=float)
    return grounding_metrics(heat[None], [boxes], size or heat.shape, **options).iloc[0]


def spots(size, *points) -> np.ndarray:
    """A map that is 0 but at points (y, x, value)."""
    heat = np.zeros(size)
    for y, x, value in points:
        heat[y, x] = value
    return heat


def random_boxes(rng, size, most=2) -> list[list[int]]:
    def one_box():
        (y0, y1), (x0, x1) = (np.sort(rng.choice(side + 1, 2, replace=False)) for side in size)
        return [int(x0), int(y0), int(x1), int(y1)]

    return [one_box() for _ in range(rng.integers(1, most + 1))]


# ---------------------------------------------------------------- against known values


def test_measures_of_a_hand_computed_map():
    heat = spots((4, 4), (1, 1, 1.0), (1, 2, 0.5), (3, 3, 0.2))
    found = one(heat, [[1, 1, 3, 2]])  # two pixels; I = 1.5, sum A = 1.7, T = 3.7
    apart = 0.2 * np.sqrt(5)  # (3, 3) lies 1 across and 2 down from the box's last pixel
    assert found.iou_soft == pytest.approx(1.501 / 2.201)
    assert found.dice_soft == pytest.approx(2 * 1.501 / 3.701)
    assert found.iou_binary == pytest.approx(1) and found.dice_binary == pytest.approx(
        4.002 / 4.001
    )
    assert found.wdp_soft == pytest.approx(apart / (apart + 1.5)) and found.wdp_binary == 0
    short = apart / np.hypot(4, 4)
    assert found.wdp_norm == pytest.approx(short / (short + 1.5))
    assert found.io_ratio == pytest.approx(1.5 / 1.7)
    assert found.pg_uncertain == 0 and found.pg_ties == 1 and found.covers == 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_iou_and_dice_equal_the_textbook_on_random_maps(dtype):
    rng = np.random.default_rng(1)
    maps = rng.random((40, 37, 53)).astype(dtype)
    boxes = [random_boxes(rng, (37, 53), most=1) for _ in maps]
    found = grounding_metrics(maps, boxes, (37, 53))
    for row, heat in enumerate(maps.astype(float)):
        (x0, y0, x1, y1), mask = boxes[row][0], np.zeros((37, 53))
        mask[y0:y1, x0:x1] = 1
        soft = (heat - heat.min()) / (heat.max() - heat.min())
        for name, a in (("soft", soft), ("binary", (soft >= 0.5).astype(float))):
            both, total = np.abs(a * mask).sum(), np.abs(a).sum() + np.abs(mask).sum()
            iou, dice = (both + 1e-3) / (total - both + 1e-3), 2 * (both + 1e-3) / (total + 1e-3)
            assert found[f"iou_{name}"][row] == pytest.approx(iou, abs=1e-9)
            assert found[f"dice_{name}"][row] == pytest.approx(dice, abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_every_measure_equals_loops_over_pixels(seed):
    rng = np.random.default_rng(seed)
    grid, size = rng.integers(2, 7, 2), tuple(int(n) for n in rng.integers(7, 20, 2))
    maps = rng.random((8, *grid)) if seed % 2 else rng.integers(0, 4, (8, *grid)).astype(float)
    boxes = [random_boxes(rng, size) for _ in maps]
    found = grounding_metrics(maps, boxes, size, delta=5)
    for row, heat in enumerate(maps):
        expected = slow.everything(heat.tolist(), boxes[row], size, delta=5)
        given = found.loc[row, list(METRICS)].to_dict()
        if seed % 2 == 0 and several_tops(heat, size):
            given.pop("pg_hit"), expected.pop("pg_hit")  # the first of equals hangs on rounding
        assert given == pytest.approx(expected, abs=1e-9, nan_ok=True)


def several_tops(heat, size) -> bool:
    full = prepare(heat[None], size, clip=False)[0]
    return (full > full.max() - 1e-9).sum() > 1


def test_upsampling_equals_the_libraries_own():
    maps = np.random.default_rng(2).random((3, 5, 7))
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    scaled = (maps - low) / (high - low)
    for name, mode in (("cubic", "bicubic"), ("linear", "bilinear")):
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(scaled)[None], (40, 31), mode=mode, align_corners=False
        )[0].numpy()
        assert prepare(maps, (40, 31), name, clip=False) == pytest.approx(expected, abs=1e-12)
        assert prepare(maps, (40, 31), name) == pytest.approx(expected.clip(0, 1), abs=1e-12)
    zoom = (40 / 5, 31 / 7)
    spline = [ndimage.zoom(a, zoom, order=3, mode="mirror", grid_mode=True) for a in scaled]
    assert prepare(maps, (40, 31), "spline", clip=False) == pytest.approx(np.stack(spline))


def test_the_distance_map_is_the_euclidean_distance_transform():
    rng = np.random.default_rng(3)
    for _ in range(20):
        size = tuple(int(n) for n in rng.integers(2, 30, 2))
        boxes = random_boxes(rng, size, most=4)
        mask = np.zeros(size, bool)
        for x0, y0, x1, y1 in boxes:
            mask[y0:y1, x0:x1] = True
        found = distance_maps([check_boxes(boxes, size)], size)[0]
        assert found == pytest.approx(ndimage.distance_transform_edt(~mask))
        assert ((found == 0) == mask).all()


# ---------------------------------------------------------------- weighted distance penalty


@pytest.mark.parametrize("form", list(WDP_FORMS))
def test_every_penalty_grows_with_distance_and_is_zero_without_heat_outside(form):
    size, box = (30, 30), [[3, 3, 8, 8]]
    found = [
        one(spots(size, (5, 5, 1.0), (5, x, 0.8)), box, wdp=form)[["wdp_soft", "wdp_binary"]]
        for x in range(8, 30)
    ]
    assert (np.diff(np.stack(found).astype(float), axis=0) > 0).all()
    assert (np.stack(found) > 0).all() and (np.stack(found) <= 1).all()
    inside = one(spots(size, (5, 5, 1.0), (4, 6, 0.3)), box, wdp=form)
    assert inside.wdp_soft == inside.wdp_binary == inside.wdp_norm == 0


def test_the_penalty_grows_with_the_heat_that_strays():
    found = [
        one(spots((20, 20), (3, 3, 1.0), (12, 12, value)), [[2, 2, 6, 6]]).wdp_soft
        for value in (0.1, 0.2, 0.4, 0.8)
    ]
    assert (np.diff(found) > 0).all()


def test_named_penalties_are_their_formulas():
    s = Sums(*(np.array([float(value)]) for value in (4, 2, 10, 8, 50, 25)), diagonal=100.0)
    expected = {
        "share": 10 / 14,
        "share_diagonal": 0.1 / 4.1,
        "share_farthest": 0.4 / 4.4,
        "exponential": 1 - np.exp(-10 / 8),
        "mean_distance": 5 / 25,
        "mean_penalty": 0.2,
    }
    assert {form: wdp(s, form)[0] for form in WDP_FORMS} == pytest.approx(expected)


def test_scaling_a_map_changes_nothing():
    heat = np.random.default_rng(4).random((6, 6))
    first, second = (one(a, [[2, 1, 9, 7]], (12, 12)) for a in (heat, 1e-7 * heat))
    assert first[list(METRICS)].tolist() == pytest.approx(second[list(METRICS)].tolist())


# ---------------------------------------------------------------- edge cases


@pytest.mark.parametrize("value", [0.0, 0.3, 1e-30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_map_has_no_heat(value, dtype):
    found = grounding_metrics(np.full((1, 5, 5), value, dtype), [[[0, 0, 4, 4]]], (10, 10)).iloc[0]
    assert found.error is None
    assert found.iou_soft == found.iou_binary == pytest.approx(0.001 / 16.001)
    assert found.dice_soft == pytest.approx(0.002 / 16.001)
    assert found.io_ratio == 0 and found.pg_hit == 0
    assert np.isnan([found.wdp_soft, found.wdp_binary, found.wdp_norm, found.pg_uncertain]).all()


def test_a_constant_map_misses_whatever_the_tolerance():
    assert one(np.ones((5, 5)), [[0, 0, 5, 5]], tolerance=0).pg_hit == 0


def test_rounding_noise_on_a_constant_map_is_no_heat():
    heat = np.full((1, 4, 4), 0.1, np.float32)
    heat[0, 1, 1] = np.nextafter(heat[0, 1, 1], 1, dtype=np.float32)
    assert np.isnan(grounding_metrics(heat, [[0, 0, 2, 2]], (8, 8)).wdp_soft[0])


def test_heat_only_inside_and_heat_only_outside():
    inside = one(spots((9, 9), (4, 4, 1.0)), [[3, 3, 6, 6]])
    outside = one(spots((9, 9), (8, 8, 1.0)), [[3, 3, 6, 6]])
    assert (inside.io_ratio, inside.wdp_soft, inside.wdp_binary, inside.pg_hit) == (1, 0, 0, 1)
    assert (outside.io_ratio, outside.wdp_soft, outside.wdp_binary, outside.pg_hit) == (0, 1, 1, 0)


@pytest.mark.parametrize("form", list(WDP_FORMS))
def test_a_box_that_covers_the_picture(form):
    rng = np.random.default_rng(5)
    found = one(rng.random((6, 6)), [[-5, -5, 40, 40]], (9, 11), wdp=form)
    assert (found.covers, found.io_ratio, found.wdp_soft, found.wdp_binary) == (1, 1, 0, 0)
    assert found.pg_uncertain == 0 and found.error is None


def test_a_box_partly_outside_counts_as_its_clipped_part():
    heat = np.random.default_rng(6).random((7, 7))
    found, expected = (one(heat, [b], (14, 14)) for b in ([-6, 3, 5, 99], [0, 3, 5, 14]))
    pd.testing.assert_series_equal(found, expected)


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        ([], "no box"),
        (None, "finite numbers"),
        ([[3, 3, 3, 6]], "no area"),
        ([[3, 6, 5, 2]], "no area"),
        ([[20, 3, 25, 6]], "outside"),
        ([[0, 0, 3, 3], [-4, -4, 0, 5]], "box 1 lies outside"),
        ([[2.2, 2, 2.8, 6]], "holds none"),
        ([[0, 0, 3]], "x0, y0, x1, y1"),
        ([[0, 0, 3, np.nan]], "finite"),
        ([["a", 0, 3, 4]], "numbers"),
        ([[0, 0, 3, 4], [1, 2]], "numbers"),
    ],
)
def test_a_wrong_box_is_a_reason_on_its_row_and_leaves_the_others_alone(boxes, reason):
    maps = np.random.default_rng(7).random((3, 4, 4))
    good = [[1, 1, 6, 6]]
    found = grounding_metrics(maps, [good, boxes, good], (10, 10))
    alone = grounding_metrics(maps[[0, 2]], [good, good], (10, 10))
    assert reason in found.error[1] and found.loc[1, list(METRICS)].isna().all()
    pd.testing.assert_frame_equal(found.iloc[[0, 2]].reset_index(drop=True), alone)


@pytest.mark.parametrize(
    ("value", "reason"), [(np.nan, "NaN"), (np.inf, "infinite"), (-0.1, "positive part")]
)
def test_a_map_that_cannot_be_used_is_a_reason_on_its_row(value, reason):
    maps = np.random.default_rng(8).random((2, 4, 4))
    maps[1, 2, 3] = value
    found = grounding_metrics(maps, [[0, 0, 3, 3]] * 2, (8, 8))
    assert found.error[0] is None and reason in found.error[1]
    assert found.loc[1, list(METRICS)].isna().all() and found.loc[0, list(METRICS)].notna().all()
    with pytest.raises(UserError, match="row 1"):
        prepare(maps, (8, 8))


@pytest.mark.parametrize("size", [None, (0, 5), (5,), (4.5, 3), ("a", "b"), (np.nan, 3)])
def test_a_wrong_size_is_a_reason_on_its_row(size):
    found = grounding_metrics(np.eye(3)[None].repeat(2, 0), [[0, 0, 2, 2]] * 2, [(6, 6), size])
    assert found.error[0] is None and "height and width" in found.error[1]


def test_fractional_boxes_hold_the_pixels_whose_index_lies_in_them():
    heat = np.random.default_rng(9).random((8, 8))
    names = [name for name in METRICS if name != "pg_hit"]  # it takes the borders as they are
    found, expected = one(heat, [1.2, 2.0, 4.5, 5.01]), one(heat, [2, 2, 5, 6])
    assert found[names].tolist() == pytest.approx(expected[names].tolist())


def test_unusable_arguments_raise_one_line():
    maps, boxes = np.ones((2, 3, 3)), [[0, 0, 2, 2]] * 2
    for change in (
        {"wdp": "x"},
        {"interpolation": "x"},
        {"ties": "x"},
        {"tau": 2},
        {"tau": np.nan},
        {"delta": -1},
    ):
        with pytest.raises(UserError):
            grounding_metrics(maps, boxes, (4, 4), **change)
    for wrong in (maps[0], maps.astype(complex), [np.ones((2, 2)), np.ones((3, 3))]):
        with pytest.raises(UserError):
            grounding_metrics(wrong, boxes, (4, 4))
    with pytest.raises(UserError, match="one each"):
        grounding_metrics(maps, boxes[:1], (4, 4))


# ---------------------------------------------------------------- pointing game


def test_the_first_maximum_in_row_major_order_counts():
    heat = spots((9, 9), (2, 7, 1.0), (6, 2, 1.0))
    assert one(heat, [[6, 1, 9, 4]]).pg_hit == 1 and one(heat, [[1, 5, 4, 8]]).pg_hit == 0


def test_hits_are_strict_on_every_side_and_any_box_will_do():
    box = [3, 3, 7, 7]
    hits = [(y, x) for y in range(10) for x in range(10) if point(y, x, [box])]
    assert hits == [(y, x) for y in range(4, 7) for x in range(4, 7)]
    assert point(8, 8, [box, [7, 7, 10, 10]]) and not point(1, 8, [box, [7, 7, 10, 10]])


def point(y, x, boxes, **options):
    return one(spots((10, 10), (y, x, 1.0)), boxes, **options).pg_hit


def test_tolerance_reaches_out_of_the_mask():
    box = [[3, 3, 7, 7]]
    assert point(3, 3, box, tolerance=0) == 1 and point(2, 3, box, tolerance=0) == 0
    assert point(2, 2, box, tolerance=1) == 0 and point(2, 2, box, tolerance=1.5) == 1


def test_accuracy_reads_the_unclipped_map():
    heat = np.zeros((8, 8))
    heat[1, 1], heat[5:7, 5:7] = 1, 0.99  # a group overshoots further than a lone spot
    full = prepare(heat[None], (32, 32), clip=False)[0]
    assert full.max() > 1 and full.argmax() // 32 > 16
    assert one(heat, [[16, 16, 32, 32]], (32, 32)).pg_hit == 1


def test_equal_tops_inside_and_outside_are_uncertain():
    size, box = (40, 100), [[0, 0, 30, 40]]
    assert one(spots(size, (20, 10, 1.0), (20, 80, 1.0)), box).pg_uncertain == 1
    assert one(spots(size, (20, 10, 1.0), (20, 25, 1.0)), box).pg_uncertain == 0  # both inside
    assert one(spots(size, (20, 50, 1.0), (20, 80, 1.0)), box).pg_uncertain == 0  # both outside
    assert one(spots(size, (20, 10, 1.0), (20, 80, 0.9)), box).pg_uncertain == 0
    several = one(spots(size, (5, 5, 1.0), (20, 80, 1.0), (35, 60, 1.0), (9, 40, 0.8)), box)
    assert (several.pg_uncertain, several.pg_ties) == (1, 3)


def test_equal_means_within_a_millionth():
    size, box = (20, 60), [[0, 0, 20, 20]]
    for less, ties in ((0, 2), (5e-7, 2), (1e-6, 2), (2.5e-6, 1)):
        found = one(spots(size, (5, 5, 1.0), (5, 50, 1 - less)), box)
        assert (found.pg_ties, found.pg_uncertain) == (ties, ties - 1)


def test_a_value_of_tau_itself_is_not_above_it():
    heat, box = spots((20, 60), (5, 5, 1.0), (5, 50, 1.0)), [[0, 0, 20, 20]]
    found = [one(heat, box, tau=tau)[["pg_ties", "pg_uncertain"]].tolist() for tau in (0.99, 1)]
    assert found == [[2, 1], [0, 0]]


def test_a_plateau_counts_once_where_its_centroid_lies():
    heat = np.zeros((20, 40))
    heat[5:10, 8:15] = 1.0  # centroid (7, 11)
    assert one(heat, [[0, 0, 12, 20]]).pg_ties == 1
    heat[15, 30] = 1.0
    assert one(heat, [[0, 0, 12, 20]]).pg_uncertain == 1  # the plateau stands inside
    assert one(heat, [[0, 0, 11, 20]]).pg_uncertain == 0


def test_a_step_of_a_slope_is_no_maximum():
    heat = np.zeros((12, 12))
    heat[2:10, 2:10], heat[5, 8] = 0.9, 1.0
    found = uncertainty_sweep(heat[None], [[0, 0, 4, 4]], (12, 12), [0.7], [0.0])
    assert found.maxima[0] == 1


def test_delta_merges_equal_tops_only_when_asked():
    heat, box = spots((60, 60), (20, 20, 1.0), (20, 50, 1.0)), [[0, 0, 30, 60]]
    assert [one(heat, box, delta=d).pg_uncertain for d in (10, 29, 31)] == [1, 1, 1]
    merged = [one(heat, box, delta=d, ties="merge").pg_uncertain for d in (10, 29, 30, 31)]
    assert merged == [1, 1, 0, 0]
    share = [30.1 / np.hypot(60, 60), 29.9 / np.hypot(60, 60)]
    found = [one(heat, box, delta=d, ties="merge", relative=True).pg_uncertain for d in share]
    assert found == [0, 1]


@pytest.mark.parametrize("kind", ["smooth", "stepped"])
def test_the_sweep_equals_loops_at_every_threshold(kind):
    rng, size = np.random.default_rng(11), (16, 22)
    maps = rng.random((6, 5, 5)) if kind == "smooth" else rng.integers(0, 11, (6, *size)) / 10
    boxes = [random_boxes(rng, size) for _ in maps]
    taus, deltas = [0.2, 0.7, 0.95], [0.0, 2.5, 6.0]
    found = uncertainty_sweep(maps, boxes, size, taus, deltas).set_index(["row", "tau", "delta"])
    for row, heat in enumerate(prepare(maps, size).tolist()):
        mask = slow.pixels(boxes[row], size)
        for tau in taus:
            for delta in deltas:
                here = found.loc[(row, tau, delta)]
                mixed, _, contested, count = slow.uncertain(heat, mask, tau, delta)
                assert (here.uncertain, here.contested, here.maxima) == (mixed, contested, count)
                assert here.uncertain_merged == slow.uncertain_merged(heat, mask, tau, delta)


def test_the_sweep_agrees_with_the_table_and_keeps_bad_rows():
    rng = np.random.default_rng(12)
    maps, boxes = rng.random((5, 7, 7)), [[0, 0, 20, 20]] * 4 + [[5, 5, 5, 5]]
    maps[3] = 0.5
    table = grounding_metrics(maps, boxes, (50, 40))
    found = uncertainty_sweep(maps, boxes, (50, 40), 0.7, [0.08], relative=True)
    assert found.uncertain.tolist() == pytest.approx(table.pg_uncertain.tolist(), nan_ok=True)
    assert found.error.isna().tolist() == [True] * 4 + [False]
    assert found.maxima.isna().tolist() == [False] * 3 + [True] * 2


# ---------------------------------------------------------------- properties


@st.composite
def instances(draw):
    """A map of small whole numbers (so that ties are common), a size, one to three boxes."""
    grid, size = (draw(st.tuples(*[st.integers(low, high)] * 2)) for low, high in ((2, 5), (5, 16)))
    size = grid if draw(st.booleans()) else size
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    heat = rng.integers(0, draw(st.sampled_from([1, 2, 4, 1000])) + 1, grid).astype(float)
    return heat, size, random_boxes(rng, size, most=3)


def mirrored(heat, size, boxes, axis):
    height, width = size
    if axis == "across":
        return heat[:, ::-1], size, [[width - c, b, width - a, d] for a, b, c, d in boxes]
    if axis == "down":
        return heat[::-1], size, [[a, height - d, c, height - b] for a, b, c, d in boxes]
    return heat.T, size[::-1], [[b, a, d, c] for a, b, c, d in boxes]


@given(instances(), st.sampled_from(["across", "down", "transposed"]))
@settings(max_examples=100)
def test_mirroring_changes_nothing_but_which_of_equal_tops_comes_first(instance, axis):
    heat, size, boxes = instance
    other, turned, moved = mirrored(*instance, axis)
    first, second = one(heat, boxes, size), one(other, moved, turned)
    names = [name for name in METRICS if name != "pg_hit"]
    given, expected = (a[names].astype(float).tolist() for a in (first, second))
    assert given == pytest.approx(expected, abs=1e-9, nan_ok=True)
    if not several_tops(heat, size):
        hit = one(heat, boxes, size, tolerance=0).pg_hit
        assert hit == one(other, moved, turned, tolerance=0).pg_hit


@given(instances(), st.sampled_from(list(WDP_FORMS)))
@settings(max_examples=100)
def test_every_measure_is_bounded(instance, form):
    heat, size, boxes = instance
    found = one(heat, boxes, size, wdp=form)
    values = found[BOUNDED].astype(float).dropna()
    assert found.error is None and (values >= 0).all()
    assert (values.drop(["dice_soft", "dice_binary"]) <= 1).all()
    assert max(found.dice_soft, found.dice_binary) <= 1.0005  # the stated form, see dice()
    assert found.pg_hit in (0, 1) and found.covers in (0, 1)


# ---------------------------------------------------------------- batches and streams


def test_a_batch_equals_singles_over_chunks_threads_and_sizes():
    rng = np.random.default_rng(13)
    maps = rng.random((60, 7, 7)).astype(np.float32)
    sizes = [[(200, 300), (31, 17), (120, 90)][i % 3] for i in range(60)]
    boxes = [random_boxes(rng, size) for size in sizes]
    assert 20 * 200 * 300 > 2 * CHUNK  # the largest size takes several chunks
    whole = grounding_metrics(maps, boxes, sizes, threads=3)
    singles = [
        grounding_metrics(maps[i : i + 1], [boxes[i]], sizes[i], threads=1) for i in range(60)
    ]
    pd.testing.assert_frame_equal(whole, pd.concat(singles, ignore_index=True), rtol=1e-12)


def test_a_stream_equals_one_table_and_may_change_the_shape_of_maps():
    rng = np.random.default_rng(14)
    maps, boxes = rng.random((9, 5, 5)), [random_boxes(rng, (20, 20)) for _ in range(9)]
    batches = [(maps[i : i + 4], boxes[i : i + 4], (20, 20)) for i in range(0, 9, 4)]
    expected = grounding_metrics(maps, boxes, (20, 20), tau=0.5)
    pd.testing.assert_frame_equal(stream_metrics(iter(batches), tau=0.5), expected)
    other = stream_metrics([(maps[:2], boxes[:2], (20, 20)), (np.eye(3)[None], boxes[:1], (9, 9))])
    assert len(other) == 3 and list(stream_metrics([]).columns) == [*METRICS, "error"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_tensors_are_read_as_they_are(dtype):
    maps = torch.rand(3, 4, 4).to(dtype).requires_grad_(True)
    boxes = [[0, 0, 5, 5]] * 3
    found = grounding_metrics(maps, boxes, (10, 10))
    expected = grounding_metrics(maps.detach().double().numpy(), boxes, (10, 10))
    pd.testing.assert_frame_equal(found, expected, atol=1e-6)


# ---------------------------------------------------------------- summaries and baselines


def test_summaries_have_intervals_and_count_what_they_leave_out():
    rng = np.random.default_rng(15)
    maps, boxes = rng.random((40, 6, 6)), [[2, 2, 14, 14]] * 40
    maps[0], maps[1, 0, 0], boxes[2] = 0.5, np.nan, [3, 3, 3, 3]
    frame = grounding_metrics(maps, boxes, (20, 20)).assign(method=["a", "b"] * 20)
    found = summarise(frame, by="method").set_index(["method", "metric"])
    wdp_a, iou_a = found.loc[("a", "wdp_soft")], found.loc[("a", "iou_soft")]
    assert wdp_a[["n", "undefined", "errors"]].tolist() == [18, 1, 1]
    assert iou_a[["n", "undefined", "errors"]].tolist() == [19, 0, 1]
    assert found.loc[("b", "pg_hit"), ["n", "undefined", "errors"]].tolist() == [19, 0, 1]
    assert wdp_a.value == pytest.approx(frame[frame.method == "a"].wdp_soft.mean())
    assert wdp_a.low < wdp_a.value < wdp_a.high
    assert len(summarise(frame)) == len(METRICS)
    assert len(summarise(frame, ["method"], metrics=["pg_hit"])) == 2
    with pytest.raises(UserError, match="no column 'task'"):
        summarise(frame, by="task")


def test_baselines_are_the_centre_and_the_area():
    boxes, sizes = [[[0, 0, 5, 10]], [[4, 4, 8, 8]], [[1, 1, 1, 1]]], [(10, 10)] * 3
    found = baseline_metrics(boxes, sizes).set_index(["baseline", "row"])
    assert found.loc[("uniform", 0), "io_ratio"] == 0.5
    assert found.loc[("uniform", 0), "pg_hit"] == 4 * 9 / 100  # without first row and column
    assert found.loc["centre", "pg_hit"].tolist()[:2] == [0, 1]
    assert found.loc["centre", "io_ratio"].tolist()[:2] == [0, 1]
    assert found.error.notna().sum() == 2 and "no area" in found.loc[("centre", 2), "error"]
    assert len(summarise(found.reset_index(), by="baseline")) == 4


def test_the_centre_baseline_is_the_measure_of_its_map():
    rng, size = np.random.default_rng(16), (15, 20)
    boxes = [random_boxes(rng, size) for _ in range(25)]
    maps = np.stack(baseline_maps("centre", [size] * 25))
    table = grounding_metrics(maps, boxes, size)
    found = baseline_metrics(boxes, [size] * 25).query("baseline == 'centre'")
    assert found.pg_hit.tolist() == table.pg_hit.tolist()
    assert found.io_ratio.tolist() == table.io_ratio.tolist()


def test_the_uniform_baseline_is_what_random_pixels_score():
    size, box = (12, 16), [[3, 2, 11, 9], [9, 1, 15, 6]]
    maps = np.zeros((12 * 16, *size))
    maps.reshape(len(maps), -1)[np.arange(len(maps)), np.arange(len(maps))] = 1
    table = grounding_metrics(maps, [box] * len(maps), size)
    uniform = baseline_metrics([box], [size]).query("baseline == 'uniform'").iloc[0]
    assert uniform.pg_hit == pytest.approx(table.pg_hit.mean())
    assert uniform.io_ratio == pytest.approx(table.io_ratio.mean())
    assert baseline_maps("uniform", [size])[0].min() == 1

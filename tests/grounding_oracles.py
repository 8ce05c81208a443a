"""Slow and obvious versions of the grounding measures: one map, loops over pixels.

Nothing here imports the library. A map is a list of rows; a box is (x0, y0, x1, y1) with x1 and y1
excluded; a mask is the set of its (y, x).
"""

import math


def pixels(boxes, size):
    """The pixels whose index lies in any box, x0 <= x < x1 and y0 <= y < y1."""
    grid = [(y, x) for y in range(size[0]) for x in range(size[1])]
    return {
        (y, x) for y, x in grid if any(x0 <= x < x1 and y0 <= y < y1 for x0, y0, x1, y1 in boxes)
    }


def normalised(heat):
    low, high = min(map(min, heat)), max(map(max, heat))
    if high == low:
        return [[0.0] * len(heat[0]) for _ in heat]
    return [[(value - low) / (high - low) for value in row] for row in heat]


def keys(t, a=-0.75):
    """Keys' cubic convolution kernel."""
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def cubic_row(row, n):
    """One row of values resized to n, the border value repeated, pixel centres corresponding."""
    found = []
    for i in range(n):
        at = (i + 0.5) * len(row) / n - 0.5
        first = math.floor(at) - 1
        taken = [row[min(max(first + k, 0), len(row) - 1)] for k in range(4)]
        found.append(sum(value * keys(at - first - k) for k, value in enumerate(taken)))
    return found


def upsampled(heat, size):
    wide = [cubic_row(row, size[1]) for row in heat]
    columns = [cubic_row(column, size[0]) for column in zip(*wide, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def clipped(heat):
    return [[min(max(value, 0.0), 1.0) for value in row] for row in heat]


def distance(y, x, mask):
    """To the nearest pixel of the mask, by trying all of them."""
    return min(math.hypot(y - v, x - u) for v, u in mask)


def overlaps(heat, mask):
    """IoU, Dice, WDP, WDP over the diagonal and IO ratio of one map in [0, 1]."""
    height, width = len(heat), len(heat[0])
    s, inside, outside, penalty = 0.001, 0.0, 0.0, 0.0
    for y in range(height):
        for x in range(width):
            if (y, x) in mask:
                inside += heat[y][x]
            else:
                outside += heat[y][x]
                penalty += heat[y][x] * distance(y, x, mask)
    total = len(mask) + inside + outside
    none, short = inside + outside == 0, penalty / math.hypot(height, width)
    return {
        "iou": (inside + s) / (total - inside + s),
        "dice": 2 * (inside + s) / (total + s),
        "wdp": math.nan if none else penalty / (penalty + inside),
        "wdp_norm": math.nan if none else short / (short + inside),
        "io_ratio": 0.0 if none else inside / (inside + outside),
    }


def hit(heat, boxes):
    """AMC's pointing game: first maximum, strictly inside any box."""
    best = max(map(max, heat))
    if best <= 0:
        return 0.0
    for y, row in enumerate(heat):
        for x, value in enumerate(row):
            if value == best:
                return float(any(x0 < x < x1 and y0 < y < y1 for x0, y0, x1, y1 in boxes))


def around(y, x, height, width):
    for v in range(max(y - 1, 0), min(y + 2, height)):
        for u in range(max(x - 1, 0), min(x + 2, width)):
            if (v, u) != (y, x):
                yield v, u


def maxima(heat, mask, tau):
    """(value, y, x, inside) of each plateau above tau without a larger pixel beside it."""
    height, width = len(heat), len(heat[0])
    level = [[round(value * 1e6) for value in row] for row in heat]
    seen, found = set(), []
    for y in range(height):
        for x in range(width):
            if (y, x) in seen or level[y][x] <= round(tau * 1e6):
                continue
            plateau, todo, highest = [], [(y, x)], True
            seen.add((y, x))
            while todo:
                here = todo.pop()
                plateau.append(here)
                for near in around(*here, height, width):
                    value = level[near[0]][near[1]]
                    highest = highest and value <= level[y][x]
                    if value == level[y][x] and near not in seen:
                        seen.add(near)
                        todo.append(near)
            if highest:
                found.append(stand(plateau, heat, mask))
    return found


def stand(plateau, heat, mask):
    """A plateau as one point: nearest to the centroid, then inside, then first."""
    mid_y = sum(y for y, _ in plateau) / len(plateau)
    mid_x = sum(x for _, x in plateau) / len(plateau)

    def order(point):
        apart = (point[0] - mid_y) ** 2 + (point[1] - mid_x) ** 2
        return round(apart, 6), point not in mask, point

    y, x = min(plateau, key=order)
    return max(heat[v][u] for v, u in plateau), y, x, (y, x) in mask


def same(one, other):
    return round(abs(one - other), 9) <= 1e-6


def mixed(points):
    return len({inside for *_, inside in points}) == 2


def survivors(points, delta):
    """Maxima that no larger one has within delta."""
    return [
        p
        for p in points
        if not any(
            q[0] > p[0] and not same(p[0], q[0]) and math.dist(p[1:3], q[1:3]) <= delta
            for q in points
        )
    ]


def uncertain(heat, mask, tau, delta):
    """(uncertain, ties, contested, number of maxima left) as the text states it."""
    left = survivors(maxima(heat, mask, tau), delta)
    top = [p for p in left if same(p[0], max(q[0] for q in left))]
    return mixed(top), len(top), mixed(left), len(left)


def uncertain_merged(heat, mask, tau, delta):
    """Whether an inside and an outside top lie more than delta apart."""
    points = maxima(heat, mask, tau)
    top = [p for p in points if same(p[0], max(q[0] for q in points))]
    return any(p[3] and not q[3] and math.dist(p[1:3], q[1:3]) > delta for p in top for q in top)


def everything(heat, boxes, size, tau=0.7, delta=50.0):
    """All measures of one raw map, by the library's column names."""
    mask = pixels(boxes, size)
    heat = normalised(heat)
    heat = heat if (len(heat), len(heat[0])) == tuple(size) else upsampled(heat, size)
    soft = clipped(heat)
    warm = [[float(value >= 0.5) for value in row] for row in soft]
    by_kind = {"soft": overlaps(soft, mask), "binary": overlaps(warm, mask)}
    found = {
        f"{name}_{kind}": by_kind[kind][name] for name in ("iou", "dice", "wdp") for kind in by_kind
    }
    found |= {name: by_kind["soft"][name] for name in ("wdp_norm", "io_ratio")}
    is_mixed, ties, *_ = uncertain(soft, mask, tau, delta)
    empty = max(map(max, soft)) == 0
    return found | {
        "pg_hit": hit(heat, boxes),
        "pg_uncertain": math.nan if empty else float(is_mixed),
        "pg_ties": math.nan if empty else float(ties),
        "covers": float(len(mask) == size[0] * size[1]),
    }

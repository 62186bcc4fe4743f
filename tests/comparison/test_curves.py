from cyclegan_dist.comparison.curves import MOST_POINTS, thinned


def test_points_are_means_of_parts_and_end_where_the_curve_does() -> None:
    points = [(float(i), float(i % 2)) for i in range(1, 4 * MOST_POINTS + 1)]
    found = thinned(points)
    assert found[0] == (4, 0.5) and found[-1] == (points[-1][0], 0.5) and len(found) == MOST_POINTS
    assert thinned(points[:7]) == points[:7]

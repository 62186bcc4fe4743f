import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cyclegan_dist.data.plan import BLOCK, Plan

sizes = st.integers(1, 60)


@settings(deadline=None)
@given(a=sizes, b=sizes, seed=st.integers(0, 2**31), ranks=st.sampled_from([1, 2, 3, 4, 8]), share=st.integers(1, 3))
def test_every_sample_exactly_once_in_each_pass_over_all_ranks(a, b, seed, ranks, share) -> None:
    plan = Plan({"A": a, "B": b}, seed, ranks * share)
    steps = -(-2 * plan.epoch_size // plan.batch_size)
    for domain, n in (("A", a), ("B", b)):
        seen = [
            plan.sample(domain, position)
            for step in range(steps)
            for rank in range(ranks)
            for position in plan.positions(step, rank, ranks)
        ]
        whole = len(seen) // n * n
        for start in range(0, whole, n):
            assert sorted(seen[start : start + n]) == list(range(n))


@settings(deadline=None)
@given(a=sizes, b=sizes, step=st.integers(0, 200))
def test_another_number_of_ranks_continues_in_the_same_order(a, b, step) -> None:
    plan = Plan({"A": a, "B": b}, 3, 12)
    batches = [[p for rank in range(ranks) for p in plan.positions(step, rank, ranks)] for ranks in (1, 2, 3, 4, 6, 12)]
    assert all(batch == batches[0] for batch in batches)


def order(plan: Plan, domain: str, passes: int) -> list[int]:
    n = plan.samples[domain]
    return [plan.sample(domain, passes * n + i) for i in range(n)]


def test_passes_domains_and_seeds_have_different_orders() -> None:
    plan = Plan({"A": 50, "B": 50}, 0, 1)
    orders = [
        order(plan, "A", 0),
        order(plan, "A", 1),
        order(plan, "B", 0),
        order(Plan({"A": 50, "B": 50}, 1, 1), "A", 0),
    ]
    assert len({tuple(o) for o in orders}) == 4
    assert order(Plan({"A": 50, "B": 50}, 0, 7), "A", 0) == orders[0]  # nothing but seed, domain and pass matters


def test_the_smaller_domain_is_not_paired_in_lock_step() -> None:
    plan = Plan({"A": 10, "B": 100}, 0, 1)
    partners = {(plan.sample("A", p), plan.sample("B", p)) for p in range(1000)}
    assert len(partners) > 600  # of 1000 possible pairs; walking in lock-step would give 100


@settings(deadline=None)
@given(a=sizes, b=sizes, ranks=st.sampled_from([1, 2, 3, 4]), first=st.integers(0, 40))
def test_serial_is_the_published_loop_on_any_number_of_ranks_and_from_any_step(a, b, ranks, first) -> None:
    plan = Plan({"A": a, "B": b}, 3, 12, pairing="serial")
    published = [(index % a, index % b) for _ in range(700) for index in range(max(a, b))]  # epoch after epoch
    steps = range(first, first + 5)
    positions = [p for step in steps for rank in range(ranks) for p in plan.positions(step, rank, ranks)]
    assert [(plan.sample("A", p), plan.sample("B", p)) for p in positions] == published[first * 12 : (first + 5) * 12]


def test_serial_pairs_keep_their_partners() -> None:
    plan = Plan({"A": 3, "B": 4}, 0, 1, partners=np.array([2, 0, 3]), pairing="serial")
    assert [(plan.sample("A", p), plan.sample("B", p)) for p in range(5)] == [(0, 2), (1, 0), (2, 3), (0, 2), (0, 2)]


def spread(n: int, window: int) -> np.ndarray:
    plan = Plan({"A": n, "B": 1}, 0, 1, window)
    return np.array(order(plan, "A", 0))


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 4000), window=st.integers(1, 2000), passes=st.integers(0, 3))
def test_a_windowed_pass_is_a_permutation_too(n, window, passes) -> None:
    plan = Plan({"A": n, "B": 1}, 5, 1, window)
    assert sorted(order(plan, "A", passes)) == list(range(n))


def test_a_window_reads_few_blocks_and_the_whole_is_well_mixed() -> None:
    n, window = 780 * BLOCK, 16 * BLOCK
    samples = spread(n, window)
    for start in range(0, n, window):
        assert len(set(samples[start : start + window] // BLOCK)) == min(16, -(-(n - start) // BLOCK))
    place = np.arange(n)
    assert abs(np.corrcoef(place, samples)[0, 1]) < 0.1  # a random order of 780 blocks has 0.036
    neighbours = samples[:-1] // BLOCK == samples[1:] // BLOCK
    assert abs(neighbours.mean() - 1 / 16) < 0.01  # as often as chance has it within a window


def test_a_domain_that_fits_into_the_window_is_shuffled_evenly() -> None:
    assert (spread(1000, 1000) == np.random.default_rng([0, 0, 0]).permutation(1000)).all()


def test_one_shard_feeds_64_ranks_alike() -> None:
    plan = Plan({"A": 100, "B": 30}, 0, 128)
    shares = [[plan.sample("A", p) for p in plan.positions(0, rank, 64)] for rank in range(64)]
    assert {len(share) for share in shares} == {2}
    first_pass = [sample for share in shares for sample in share][:100]
    assert sorted(first_pass) == list(range(100))


def test_a_large_plan_costs_little() -> None:
    plan = Plan({"A": 10_000_000, "B": 1000}, 0, 64)
    assert 0 <= plan.sample("A", 25_000_000) < 10_000_000
    assert order(plan, "B", 9_999)[:3] != order(plan, "B", 10_000)[:3]
    assert isinstance(plan.sample("A", 0), int) and not isinstance(plan.sample("A", 0), np.integer)

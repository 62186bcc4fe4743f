import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cyclegan_dist.data.plan import Plan

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
def test_another_number_of_ranks_goes_on_with_the_same_order(a, b, step) -> None:
    plan = Plan({"A": a, "B": b}, 3, 12)
    batches = [[p for rank in range(ranks) for p in plan.positions(step, rank, ranks)] for ranks in (1, 2, 3, 4, 6, 12)]
    assert all(batch == batches[0] for batch in batches)


def order(plan: Plan, domain: str, passes: int) -> list[int]:
    n = plan.samples[domain]
    return [plan.sample(domain, passes * n + i) for i in range(n)]


def test_passes_domains_and_seeds_have_orders_of_their_own() -> None:
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


def test_a_large_plan_costs_little() -> None:
    plan = Plan({"A": 10_000_000, "B": 1000}, 0, 64)
    assert 0 <= plan.sample("A", 25_000_000) < 10_000_000
    assert order(plan, "B", 9_999)[:3] != order(plan, "B", 10_000)[:3]
    assert isinstance(plan.sample("A", 0), int) and not isinstance(plan.sample("A", 0), np.integer)

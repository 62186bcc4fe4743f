"""Trainings of a soak test, drawn by seed."""

import dataclasses
import random
from dataclasses import dataclass
from typing import Any, Literal, get_args

STEPS = (5, 9)  # least and most of a training
MOST_DELAY_S = 0.05  # before each batch of a slowed rank

End = Literal["steps", "kill", "stop file"]


@dataclass(frozen=True)
class Phase:
    """Part of a training, with a number of ranks of its own.

    Attributes:
        ranks: number of ranks.
        steps: done at its end, counted from the start of the training.
        end: what ends it: these steps, SIGKILL to one rank, or a request to stop.
        at: batch of the rank at which it is killed, or requests the stop.
        rank: that is killed, or requests the stop.
        slowed: rank that sleeps before each batch; -1: none.
    """

    ranks: int
    steps: int
    end: End = "steps"
    at: int = 0
    rank: int = 0
    slowed: int = -1


@dataclass(frozen=True)
class Case:
    """A training.

    Attributes:
        ranks: number of ranks of its first and last phase.
        seed: of the drawing.
        options: of the config, with dotted keys with __ for the dot.
        paired: whether it trains on the data set of pairs, whose images differ in size.
        phases: what is run one after the other, each resuming from the checkpoint before.
    """

    ranks: int
    seed: int
    options: dict[str, Any]
    paired: bool
    phases: list[Phase]

    def __str__(self) -> str:
        options = ", ".join(f"{key.replace('__', '.')} {value}" for key, value in self.options.items())
        phases = "; ".join(
            f"{p.ranks} ranks to step {p.steps}"
            + (f" ({p.end}, rank {p.rank}, batch {p.at})" if p.end != "steps" else "")
            for p in self.phases
        )
        return f"{options}; {phases}"


def draw(ranks: int, seed: int) -> Case:
    """The case of a seed: equal seeds give equal cases."""
    rng = random.Random(f"{ranks} ranks, seed {seed}")

    def chance(probability: float) -> bool:
        return rng.random() < probability

    # Method.
    options: dict[str, Any] = {"seed": seed}
    paired_method = chance(0.2)
    if paired_method:
        options |= {
            "method__name": "pix2pix",
            "method__generator__arch": "resnet",
            "method__generator__dropout": chance(0.5),
        }
    else:
        options |= {"method__gan_mode": rng.choice(["lsgan", "lsgan", "vanilla", "wgangp"])}
        options |= {"method__pool_size": rng.choice([0, 1, 3, 50])}
        options |= {"method__lambda_identity": rng.choice([0, 0.5])}

    # Batches: micro-batches, images of different sizes on each rank, loader processes.
    batch = ranks * rng.choice([1, 1, 2, 3])
    options |= {"optim__batch_size": batch, "optim__micro_batch": rng.choice([0, 1])}
    uneven = chance(0.2) and options.get("method__gan_mode") != "wgangp"
    if uneven:
        options |= {"data__preprocess": "none", "optim__micro_batch": 1}
    elif chance(0.2):
        options |= {"data__cache_gb": 0.001}
    options |= {"data__workers": int(chance(0.2))}
    options |= {"optim__precision": "bf16" if chance(0.15) else "fp32"}
    options |= {"optim__ema_half_life_images": rng.choice([0, 0, 20.0])}
    options |= {"schedule__policy": rng.choice(["linear", "linear", "cosine", "plateau"])}

    # Hooks.
    for name in ("log", "checkpoint", "compare"):
        options[f"every__{name}"] = batch * rng.randint(1, 3)
    for name in ("samples", "snapshot"):
        options[f"every__{name}"] = batch * rng.choice([0, 0, 0, 3])
    options |= {"keep_checkpoints": rng.randint(1, 3), "keep_best": rng.choice([0, 0, 1])}

    # Phases: restarts with other numbers of ranks, after the end of a phase, a kill or a stop.
    worlds = [n for n in range(max(1, ranks // 2), ranks) if batch % n == 0]
    steps = rng.randint(*STEPS)
    phases = [Phase(ranks, steps)]
    if chance(0.6):
        options["world__num_workers"] = (1, ranks)
        middle, end = rng.randint(2, steps - 1), rng.choice(get_args(End))
        first = Phase(ranks, middle if end == "steps" else steps, end=end, at=middle, rank=rng.randrange(ranks))
        phases = [first, Phase(rng.choice(worlds), steps)]
        if chance(0.3):
            phases.append(Phase(ranks, steps + 2))
    phases = [dataclasses.replace(p, slowed=rng.randrange(p.ranks) if chance(0.4) else -1) for p in phases]
    return Case(ranks, seed, options, paired_method or uneven, phases)

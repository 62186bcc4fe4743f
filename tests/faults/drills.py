"""The whole matrix: importing a group's drills enters them."""

from tests.faults import (
    bulk,
    canaries,
    clock,
    decoding,
    exposure,
    injection,
    judging,
    links,
    memory,
    names,
    nodes,
    numerics,
    pages,
    processes,
    reading,
    resuming,
    serving,
    storage,
    supply,
    tracking,
)
from tests.faults.matrix import ENTERED

__all__ = [
    "ROWS",
    "bulk",
    "canaries",
    "clock",
    "decoding",
    "exposure",
    "injection",
    "judging",
    "links",
    "memory",
    "names",
    "nodes",
    "numerics",
    "pages",
    "processes",
    "reading",
    "resuming",
    "serving",
    "storage",
    "supply",
    "tracking",
]

ROWS = {id: ENTERED[id] for id in sorted(ENTERED, key=lambda id: (id[0], int(id[1:])))}

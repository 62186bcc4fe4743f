"""The whole matrix: importing a group's drills enters them."""

from tests.faults import bulk, decoding, judging, names, numerics, reading, resuming, storage, tracking
from tests.faults.matrix import ENTERED

__all__ = ["ROWS", "bulk", "decoding", "judging", "names", "numerics", "reading", "resuming", "storage", "tracking"]

ROWS = {id: ENTERED[id] for id in sorted(ENTERED, key=lambda id: (id[0], int(id[1:])))}

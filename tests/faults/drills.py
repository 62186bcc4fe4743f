"""The whole matrix: importing a group's drills enters them."""

from tests.faults import bulk, numerics, reading, storage
from tests.faults.matrix import ROWS

__all__ = ["ROWS", "bulk", "numerics", "reading", "storage"]

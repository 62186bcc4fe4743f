"""The complete fault matrix: importing a group's module registers its drills."""

from tests.faults import (
    clock,
    decoding,
    exposure,
    file_names,
    html_injection,
    memory,
    network_links,
    nodes,
    numerics,
    processes,
    promotion,
    reading,
    resuming,
    sampling,
    secret_leaks,
    serving,
    storage,
    stress,
    supply_chain,
    tracking,
    yaml_injection,
)
from tests.faults.matrix import REGISTERED

__all__ = [
    "ROWS",
    "clock",
    "decoding",
    "exposure",
    "file_names",
    "html_injection",
    "memory",
    "network_links",
    "nodes",
    "numerics",
    "processes",
    "promotion",
    "reading",
    "resuming",
    "sampling",
    "secret_leaks",
    "serving",
    "storage",
    "stress",
    "supply_chain",
    "tracking",
    "yaml_injection",
]

ROWS = {id: REGISTERED[id] for id in sorted(REGISTERED, key=lambda id: (id[0], int(id[1:])))}

"""Durations and sizes as text for people."""


def duration(seconds: float) -> str:
    """With two digits: 40 s, 12 min, 1.5 h, 5.3 years."""
    for unit, length in (("years", 31_557_600.0), ("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:,.{int(seconds < 10 * length)}f} {unit}"
    return f"{seconds:.{int(seconds < 10)}f} s"


def size(count: float) -> str:
    """Bytes with a unit."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB" if count < 1000 else f"{count:,.0f} TB"

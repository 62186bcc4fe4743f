"""What the compared runs differ in, and in what they cannot be compared."""

from collections.abc import Iterator, Sequence
from typing import Any

from cyclegan_dist.comparison.sources import ComparedSource
from cyclegan_dist.config.changes import differing, is_learned
from cyclegan_dist.data.domain_names import legend

OF_EACH_RUN = ("name", "runs_dir")  # differ in any case, or say nothing


def config_differences(compared: Sequence[ComparedSource]) -> dict[str, dict[str, Any]]:
    """By dotted key, the value of each run whose configuration is known: first the keys that affect what is learned."""
    found = differing({one.name: one.config for one in compared if one.config})
    return {key: found[key] for key in sorted(found, key=lambda key: not is_learned(key)) if key not in OF_EACH_RUN}


def warnings_of(compared: Sequence[ComparedSource]) -> list[str]:
    """A sentence for each thing in which the others cannot be compared with the first."""
    return [sentence for other in compared[1:] for sentence in _warnings(compared[0], other)] + [
        f"{one.name}: its configuration is not known, because it is no folder of a run"
        for one in compared
        if not one.config
    ]


def _warnings(first: ComparedSource, other: ComparedSource) -> Iterator[str]:
    both = f"{first.name} and {other.name}"
    for domain in sorted(first.data.keys() & other.data.keys()):
        if first.data[domain] != other.data[domain]:
            yield f"{both} were trained on other images of domain {domain}: what differs may be due to the data"
    if not (first.data and other.data):
        yield f"{both}: it is not known whether they were trained on the same images"
    if first.names != other.names:
        of_first, of_other = (legend(one.names) or "its domains have no names" for one in (first, other))
        yield f"{both} have other domains: of {first.name} {of_first}; of {other.name} {of_other}"
    methods = [one.facts.get("method") for one in (first, other)]
    if None not in methods and methods[0] != methods[1]:
        yield f"{both} were trained by different methods ({methods[0]} and {methods[1]}): losses of one name may differ"
    seen = [one.facts.get("images seen by the snapshot") for one in (first, other)]
    if None not in seen and seen[0] != seen[1]:
        yield f"{both}: their snapshots have not seen as many images ({seen[0]:,} and {seen[1]:,})"
    if first.snapshot and other.snapshot and first.snapshot.data_direction != other.snapshot.data_direction:
        yield f"{both} have exchanged domains (data.direction): AB of one is BA of the other"

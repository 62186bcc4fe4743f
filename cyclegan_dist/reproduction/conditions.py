"""What must be equal for equal weights: then and now, and what follows where it is not, or is not known."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cyclegan_dist.data.location import is_data_set
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.registry.sources import REGISTRY, open_source
from cyclegan_dist.reproduction.origin import Origin
from cyclegan_dist.reproduction.prepared import data_of, starts_from
from cyclegan_dist.step.device_name import device_name
from cyclegan_dist.tracking.environment import environment, source_changes
from cyclegan_dist.tracking.journal import source_commit

# Packages through which numbers of a training go; others read options, draw pages or send metrics.
NUMERIC = ("torch", "torchvision", "numpy", "pillow", "tifffile", "imagecodecs", "triton", "safetensors")
State = Literal["same", "differs", "unknown", "missing"]


@dataclass(frozen=True)
class Condition:
    """One thing that a training's result depends on.

    Attributes:
        name: of it.
        then: when the run was trained; empty if that was not recorded.
        now: on this machine.
        state: whether they are equal. `missing`: it cannot be trained here.
        effect: what follows, unless they are equal.
    """

    name: str
    then: str
    now: str
    state: State
    effect: str = ""


def conditions_of(origin: Origin, data: str = "") -> list[Condition]:
    """All of them. Loads torch, and nothing from a network.

    Args:
        origin: what is to be reproduced.
        data: data set to use instead of the recorded path.
    """
    import torch

    then = origin.environment
    kind = "cuda" if then.get("cuda") or (not then and torch.cuda.is_available()) else "cpu"
    on_gpu = "the numbers of a GPU" if kind == "cuda" else "the numbers of a processor"
    now = environment(kind)
    found = [*_data(origin, data), *_weights(origin), *_teacher(origin), *_source(origin), *_ranks(origin)]
    if kind == "cuda" and not torch.cuda.is_available():
        found.append(Condition("GPU", str(origin.fact("device")), "none", "missing", "it was trained on a GPU"))
    else:
        card = device_name(torch.device(kind))
        found.append(_equal("device", origin.fact("device"), card, f"{on_gpu} depend on its kind"))
    found.append(_threads(then))
    keys = ["torch", "instructions", "platform", *(["cuda", "cudnn", "driver"] if kind == "cuda" else [])]
    for key in keys:
        found.append(_equal(key, then.get(key), now.get(key, ""), f"{on_gpu} may round otherwise"))
    found.append(_packages(then.get("packages", {}), now["packages"]))
    found += _earlier(origin)
    if kind == "cuda":
        fast = origin.config.optim.is_fast("cuda")
        why = "fused kernels, and algorithms that are chosen by their speed" if fast else "sums in no fixed order"
        found.append(Condition("arithmetic of a GPU", f"optim.fast {origin.config.optim.fast}", "", "differs", why))
    return found


def _equal(name: str, then: Any, now: Any, effect: str) -> Condition:
    if then in (None, ""):
        return Condition(name, "", str(now), "unknown", "it was not recorded")
    same = str(then) == str(now)
    return Condition(name, str(then), str(now), "same" if same else "differs", "" if same else effect)


def _data(origin: Origin, given: str) -> Iterator[Condition]:
    path, config = data_of(origin, given), origin.config.data
    if path == "synthetic":
        yield Condition("images", "drawn from the seed", "will be drawn again", "same")
        return
    if not is_data_set(path):
        yield Condition("images", path, "not there", "missing", "give --data, the folder of the same data set")
        return
    try:
        manifest = open_manifest(path, ("sha256",)).selected(config.direction, config.max_samples)
    except (UsageError, OSError) as error:
        yield Condition("images", path, str(error), "missing", "give --data, the folder of the same data set")
        return
    for domain, digest in sorted(origin.data().items()):
        now = manifest.domain_digest(domain)
        state: State = "same" if now == digest else "missing"
        effect = "" if now == digest else f"{path} has other images: give --data, the folder of the same data set"
        yield Condition(f"images of domain {domain}", digest[:16], now[:16], state, effect)
    if not origin.data():
        yield Condition("images", "", path, "unknown", "their digest was not recorded")
    elif origin.fact("manifest") and origin.fact("manifest") != manifest.digest:
        was = str(origin.fact("manifest"))[:16]
        yield Condition(
            "manifest", was, manifest.digest[:16], "differs", "images may be prepared otherwise or in another order"
        )


def _weights(origin: Origin) -> Iterator[Condition]:
    start = origin.config.init_from
    if not start:
        return
    place = starts_from(origin)
    if start.startswith(REGISTRY):
        yield Condition("weights at the start", start, "", "unknown", "an alias may name another version by now")
    elif not Path(place).exists():
        yield Condition("weights at the start", start, "not there", "missing", "move them back there")
    else:
        yield Condition("weights at the start", start, place, "unknown", "they may have been replaced")


def _teacher(origin: Origin) -> Iterator[Condition]:
    taught = origin.config.method.taught_by
    if not taught:
        return
    place, wanted = str(taught["folder"]), str(taught["sha256"])
    try:
        now = open_source(place).digest()
    except (UsageError, OSError):
        yield Condition("teacher", place, "not there", "missing", "move it back there")
        return
    same = now == wanted
    effect = "" if same else f"{place} has other weights: move the teacher back there"
    yield Condition("teacher", wanted[:16], now[:16], "same" if same else "missing", effect)


def _source(origin: Origin) -> Iterator[Condition]:
    commit = origin.fact("commit")
    yield _equal("commit", commit, source_commit(), f"check it out: git checkout {str(commit)[:12]}")
    if not origin.starts or "changed" not in origin.starts[-1]:
        yield Condition("uncommitted changes", "", "", "unknown", "it was not recorded whether there were any")
        return
    then, now = str(origin.fact("changed")), source_changes()
    if then != now:
        text = "the changes of then were not kept" if then else "the source has changes now that it had not"
        yield Condition("uncommitted changes", then[:16] or "none", now[:16] or "none", "differs", text)
    else:
        yield Condition("uncommitted changes", then[:16] or "none", now[:16] or "none", "same")


def _ranks(origin: Origin) -> Iterator[Condition]:
    sizes = origin.world_sizes
    if not sizes:
        yield Condition("ranks", "", "", "unknown", "their number was not recorded: give it to the prepared command")
    elif len(set(sizes)) > 1:
        text = "their number changed while it was trained: sums round otherwise, and histories are shared otherwise"
        yield Condition("ranks", ", ".join(map(str, sizes)), str(sizes[-1]), "differs", text)
    else:
        yield Condition("ranks", str(sizes[0]), str(sizes[0]), "same")


def _earlier(origin: Origin) -> Iterator[Condition]:
    """What was otherwise in earlier starts of a run that was resumed: it can be trained again by one of them only."""
    facts = [_numbers_go_through(start) for start in origin.starts]
    for name, last in facts[-1].items() if facts else ():
        values = list(dict.fromkeys(one[name] for one in facts))
        if len(values) > 1:
            known = "" not in values
            text = "it was resumed with another one" if known else "it was not recorded at each start"
            before = ", ".join(value[:16] or "unknown" for value in values)
            yield Condition(f"{name} of all starts", before, last[:16], "differs" if known else "unknown", text)


def _numbers_go_through(start: Mapping[str, Any]) -> dict[str, str]:
    """What the numbers of a training depend on, as its start has recorded it, as texts; empty where it has not."""
    made, options = start.get("environment", {}), start.get("config", {})
    packages = made.get("packages", {})
    found = {name: start.get(name) for name in ("commit", "device")}
    found["uncommitted changes"] = (start["changed"] or "none") if "changed" in start else None
    found |= {name: made.get(name) for name in ("threads", "torch", "instructions", "platform")}
    found |= {name: made.get(name) for name in ("cuda", "cudnn", "driver")}
    found |= {name: packages.get(name) for name in NUMERIC if name != "torch"}
    found |= {name: options.get(name) for name in ("optim.micro_batch", "optim.fast", "optim.activation_checkpointing")}
    return {name: "" if value is None else str(value) for name, value in found.items()}


def _threads(then: Mapping[str, Any]) -> Condition:
    """The prepared configuration has as many as the run had."""
    if count := then.get("threads"):
        return Condition("threads", str(count), f"{count}, set by world.threads", "same")
    return Condition("threads", "", "", "unknown", "their number was not recorded: sums over them round otherwise")


def _packages(then: dict[str, str], now: dict[str, str]) -> Condition:
    if not then:
        return Condition("packages", "", f"{len(now)}", "unknown", "they were not recorded")
    other = {name: (then.get(name, "none"), now.get(name, "none")) for name in sorted(then.keys() | now.keys())}
    other = {name: versions for name, versions in other.items() if versions[0] != versions[1]}
    numeric = [name for name in other if name in NUMERIC]
    if not numeric:
        text = f"{len(other)} others differ, through which no numbers go" if other else ""
        return Condition("packages", f"{len(then)}", f"{len(now)}", "same", text)
    was = ", ".join(f"{name} {other[name][0]}" for name in numeric)
    will = ", ".join(f"{name} {other[name][1]}" for name in numeric)
    return Condition("packages", was, will, "differs", "numbers go through these: install the versions of then")


def verdict(found: list[Condition]) -> str:
    """Whether the result can be equal bit for bit, in one line."""
    by = {state: [one.name for one in found if one.state == state] for state in ("missing", "differs", "unknown")}
    if by["missing"]:
        return f"cannot be reproduced here: {', '.join(by['missing'])}"
    if by["differs"]:
        return f"cannot be expected bit for bit, because of: {', '.join(by['differs'])}"
    if by["unknown"]:
        return f"may be reproduced bit for bit; not known: {', '.join(by['unknown'])}"
    return "can be reproduced bit for bit"

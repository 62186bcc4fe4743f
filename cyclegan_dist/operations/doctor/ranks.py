"""Checks that the ranks of a training fit on the nodes: places, cores, main memory, and memory of GPUs."""

from collections.abc import Mapping

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.operations.doctor.footprint import Values, footprint
from cyclegan_dist.operations.doctor.hardware import Gpu
from cyclegan_dist.operations.doctor.limits import SERVICES, Limits
from cyclegan_dist.operations.doctor.nodes import Node, max_ranks, places, ranks_of, uses_gpus
from cyclegan_dist.operations.doctor.report import Report
from cyclegan_dist.step.world_config import STANDBY
from cyclegan_dist.tracking.quantities import size

MIB = 2**20


def check_cores(report: Report, nodes: list[Node], limits: Mapping[str, Limits], config: Config) -> None:
    """Check that there is a place for every rank, and a core for each of its threads and loader processes."""
    ranks, on_gpu, room = max_ranks(config, nodes), uses_gpus(config, nodes), sum(places(config, nodes).values())
    kind, threads, workers = "GPUs" if on_gpu else "CPU cores", config.world.threads or 1, config.data.workers
    if isinstance(config.world.num_workers, int) and config.world.num_workers:
        try:
            config.micro_batches(ranks)  # as the launcher does: it refuses them
        except UsageError as error:
            found, _, advice = str(error).partition(": ")
            report.add("red", found, f"{advice[:1].upper()}{advice[1:]}.", {"ranks": ranks})
    if ranks > room:
        advice = f"Give --world.num_workers {config.largest_world(room)}, or add nodes." if room else "Add nodes."
        report.add("red", f"{ranks} ranks are more than {room} {kind}", advice, {"ranks": ranks, "room": room})
    here = ranks_of(config, nodes)
    for name, limit in limits.items():
        if (need := here[name] * (threads + workers)) > limit.cores:
            each = f"{threads} thread{'s' * (threads > 1)} and {workers} loader processes each"
            found = f"{name}: {here[name]} ranks with {each} on {limit.cores:g} cores"
            fits = int(limit.cores // (threads + workers))
            ways = ["lower data.workers"] * bool(workers) + ["lower world.threads"] * (threads > 1)
            ways += fewer_ranks(config, nodes, fits)
            advice = f"They take turns, and steps may take longer: {', or '.join(ways) or 'use fewer ranks'}."
            report.add("yellow", found, advice, {"need": need, "cores": limit.cores, "fit": fits})
    cores = {name: limit.cores for name, limit in limits.items()}
    report.ok(f"{ranks} ranks; {min(cores.values(), default=0):g} cores on the node with the fewest", cores)


def check_memory(
    report: Report,
    nodes: list[Node],
    limits: Mapping[str, Limits],
    gpus: Mapping[str, tuple[list[Gpu], int]],
    config: Config,
    values: Values,
) -> None:
    """Check that the memory of nodes, and that of their GPUs, is enough for the ranks, as estimated.

    Args:
        report: to add the findings to.
        nodes: of the cluster.
        limits: of each node.
        gpus: of each node, as `gpus_here` returns them.
        config: of the training.
        values: the value range of each domain of the data set.
    """
    ranks, on_gpu, here = max_ranks(config, nodes), uses_gpus(config, nodes), ranks_of(config, nodes)
    room = sum(places(config, nodes).values())
    need = footprint(config, ranks, values, on_gpu=on_gpu, standby=config.world.has_standby)
    for name, limit in limits.items():
        total, fits = need.on_node(here[name]) + SERVICES, need.ranks_in(limit.memory - SERVICES)
        if total > limit.free:
            of = f"of {size(limit.memory)}" if total > limit.memory else f"and {size(limit.free)} are free"
            found = f"{name}: {here[name]} ranks need about {size(total)} {of}; {fits} fit"
            advice = memory_advice(config, nodes, fits, standby=config.world.has_standby)
            report.add("red" if total > limit.memory else "yellow", found, advice, {"need": total, "fit": fits})
        for card in gpus.get(name, ([], 0))[0] if on_gpu else []:
            if 0 < card.memory * MIB < need.card:
                found = f"{name}: a rank needs about {size(need.card)} of the {size(card.memory * MIB)} of {card.name}"
                report.add(
                    "red", found, memory_advice(config, nodes, 0), {"need": need.card, "memory": card.memory * MIB}
                )
                break
    if ranks > room:
        found = f"{ranks - room} of {ranks} ranks have no place and are not counted; they need {size(need.rank)} each"
        advice = f"Give --world.num_workers {config.largest_world(room)}, or add nodes." if room else "Add nodes."
        report.add("yellow", found, advice, {"ranks": ranks, "room": room})
    found = f"a rank needs about {size(need.rank)}" + (f", and {size(need.card)} on its GPU" if on_gpu else "")
    report.ok(found, {"rank": need.rank, "first": need.first, "card": need.card})


def memory_advice(config: Config, nodes: list[Node], fits: int, *, standby: bool = False) -> str:
    """What to do where only `fits` ranks, with or without a standby process each, fit into a node's memory."""
    ways = fewer_ranks(config, nodes, fits)
    ways += ["lower optim.micro_batch, which changes no result"] if config.optim.batch_size > 1 else []
    ways += ["lower data.crop_size or method.generator.ngf"]
    ways += [f"set {STANDBY}=0 for slower restarts", "add memory"] if standby else ["add memory"]
    text = ", or ".join(ways)
    return f"{text[0].upper()}{text[1:]}."


def fewer_ranks(config: Config, nodes: list[Node], fits: int) -> list[str]:
    """The option for at most `fits` ranks on one of the nodes; none if not even one fits."""
    if not fits:
        return []
    if len(nodes) == 1:
        return [f"give --world.num_workers {config.largest_world(fits)}"]
    return [f"start Ray there with --num-{'gpus' if uses_gpus(config, nodes) else 'cpus'}={fits}"]

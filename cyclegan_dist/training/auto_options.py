"""Options that are left to the machine: optim.fast auto and optim.precision auto."""

import dataclasses

from cyclegan_dist.config.config import Config, dump_config
from cyclegan_dist.step.config import Precision
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.precision import has_bf16
from cyclegan_dist.storage.files import write_atomic
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import Journal, read_records
from cyclegan_dist.training.write_limit import limited_writes


def resolved(config: Config, world: World, journal: Journal | None) -> Config:
    """The config with `optim.fast` on or off and `optim.precision` chosen, also in the run's `config.yaml`."""
    fast = config.optim.is_fast(world.device.type)
    if fast and config.method.batch_norm:
        fast = False
        if journal is not None:
            journal.message("optim.fast is off: norm batch runs without it")
    precision = _precision(config, world, journal) if config.optim.precision == "auto" else config.optim.precision
    optim = dataclasses.replace(config.optim, fast="on" if fast else "off", precision=precision)
    found = dataclasses.replace(config, optim=optim)
    if journal is not None and found != config:
        with limited_writes(config.run_dir, config.world.save_timeout_s):
            write_atomic(RunFolder(config.run_dir).config, dump_config(found))
    return found


def _precision(config: Config, world: World, journal: Journal | None) -> Precision:
    """The choice of `optim.precision auto`, which a restarted run keeps, perhaps on other processors."""
    chosen: Precision = "bf16" if all(world.gather(has_bf16(world.device))) else "fp32"
    if journal is not None:
        records = read_records(RunFolder(config.run_dir).journal, 0)
        kept: Precision = next((r["config"]["optim.precision"] for r, _ in records if r["kind"] == "run"), "auto")
        if kept == "auto":
            has = "has" if chosen == "bf16" else "lacks"
            journal.message(f"optim.precision auto: {chosen}, because the {world.device.type} {has} bf16 instructions")
        else:
            chosen = kept
    return world.broadcast(chosen)

"""What the evaluation of a model costs that takes long for each image."""

from cyclegan_dist.errors import UsageError, pipeline_command
from cyclegan_dist.evaluation.evaluator import Evaluator
from cyclegan_dist.models.cost import slow_seconds_per_pixel
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.tracking.quantities import duration


def cost_of_slow(evaluator: Evaluator, snapshot: Snapshot, limit_s: float = 0) -> str:
    """A sentence about one image and all of them, if the model is slow; empty if it is not. All ranks call it and all
    get the same.

    Raises:
        UsageError: if all images would take longer than `limit_s`; 0: no limit.
    """
    first = snapshot.directions[0]
    found = evaluator.world.gather(slow_seconds_per_pixel(evaluator.translators[first]))
    if any(seconds is None for seconds in found):
        return ""
    height, width = evaluator.images[first[0]][0].shape[1:]
    one_s = max(filter(None, found)) * height * width
    each = 1
    if len(snapshot.directions) == 2:  # reconstructions and images of the target domain are translated, too
        each += len({"cycle", "identity"} & set(evaluator.config.metrics))
    count = sum(evaluator.count(direction[0]) for direction in snapshot.directions)
    all_s = one_s * each * count / evaluator.world.size
    text = (
        f"a translation of {width}x{height} takes about {duration(one_s)}, and {count * each} of them {duration(all_s)}"
    )
    if 0 < limit_s < all_s:
        command = f"{pipeline_command('evaluate')} {snapshot.folder} --data DATA --count NUMBER"
        raise UsageError(f"{text}, more than the {duration(limit_s)} that there are: evaluate fewer images: {command}")
    return text

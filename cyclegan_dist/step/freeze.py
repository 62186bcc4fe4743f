"""Weights that are not trained (`freeze`)."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from cyclegan_dist.errors import UsageError, suggestion
from cyclegan_dist.methods.contract import Method


def freeze(method: Method, patterns: Sequence[str]) -> None:
    """Take the gradient away from all weights whose name matches one of `patterns`, before a `Step` is built.

    A player may be frozen as a whole: it then computes its images and losses, and nothing else.

    Args:
        method: whose networks they are; a weight's name is, for example, `G_AB.model.1.weight`.
        patterns: as of `fnmatch`: `*` matches any text, dots too.

    Raises:
        UsageError: if a pattern matches no weight, with a near name; or if nothing is left to train.
    """
    parameters = dict(method.networks.named_parameters())
    for pattern in patterns:
        matched = [name for name in parameters if fnmatchcase(name, pattern)]
        if not matched:
            parts = {name.rsplit(".", count)[0] for name in parameters for count in range(name.count(".") + 1)}
            near = suggestion(pattern.rstrip(".*"), parts)
            raise UsageError(
                f"freeze {pattern}: no weight has such a name; {near}names begin with {', '.join(method.networks)}, as "
                f"in {next(iter(parameters))}"
            )
        for name in matched:
            parameters[name].requires_grad_(False)
    for module in method.networks.modules():  # running statistics are weights too: translations use them
        if isinstance(module, nn.BatchNorm2d) and not any(weight.requires_grad for weight in module.parameters()):
            module.momentum = 0.0
    if not any(parameter.requires_grad for player in method.players for parameter in player.module.parameters()):
        raise UsageError(f"freeze {' '.join(patterns)}: nothing is left to train")

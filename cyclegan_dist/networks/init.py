"""Weight initialisation of the paper, and the reference implementation's three alternatives."""

from collections.abc import Callable

from torch import Tensor, nn

from cyclegan_dist.networks.config import InitConfig


def init_weights(network: nn.Module, config: InitConfig) -> None:
    """Draw the weights of every convolution and linear layer from torch's global random generator, and set biases to 0.
    Weights of batch norm are drawn from N(1, gain).

    Seed it alike on all ranks first, so that they start from the same weights. Weights on the device `meta` are
    skipped.
    """
    draw: dict[str, Callable[[Tensor], Tensor]] = {
        "normal": lambda w: nn.init.normal_(w, 0.0, config.gain),
        "xavier": lambda w: nn.init.xavier_normal_(w, gain=config.gain),
        "kaiming": lambda w: nn.init.kaiming_normal_(w, a=0, mode="fan_in"),
        "orthogonal": lambda w: nn.init.orthogonal_(w, gain=config.gain),
    }
    for module in network.modules():
        # Drawing values for `meta` does nothing, but makes torch load its compiler, which takes two seconds.
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and not module.weight.is_meta:
            draw[config.kind](module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, config.gain)
            nn.init.zeros_(module.bias)

"""Losses as pure functions of tensors (paper, section 3).

`logits` are a discriminator's raw outputs, N x 1 x h x w, or several such tensors of one that judges at several scales;
every loss is a mean over all entries of each tensor, and the mean over tensors, and is returned as a scalar in at least
float32, also for networks in lower precision.
"""

from collections.abc import Callable, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

GanMode = Literal["lsgan", "vanilla", "wgangp"]
Logits = Tensor | Sequence[Tensor]


def _full(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def l1(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference over all entries (Eq. 2, and the identity loss of section 5.2)."""
    return F.l1_loss(_full(x), _full(y))


def feature_distance(x: Sequence[Tensor], y: Sequence[Tensor]) -> Tensor:
    """|x / |x| - y / |y||^2, the mean over positions and images, then over layers: from 0 to 4, of features after a
    ReLU to 2 (Zhang et al. 2018, arXiv 1801.03924, Eq. 1, whose learned weights of channels are all 1 here).

    Args:
        x: N x C x h x w for each layer. A vector of C features has its length only where that is well above 0.1.
        y: of the same shapes.
    """
    both = zip(x, y, strict=True)
    return torch.stack([(_unit(one) - _unit(other)).square().sum(dim=1).mean() for one, other in both]).mean()


def _unit(features: Tensor) -> Tensor:
    features = _full(features)
    # Added, so that the gradient stays finite where all features of a position are 0.
    return features * (features.square().sum(dim=1, keepdim=True) + 0.01).rsqrt()


def generator_gan_loss(logits_fake: Logits, mode: GanMode, *, real: bool = True) -> Tensor:
    """A generator's adversarial loss: (D(G(x)) - 1)^2 for `lsgan` (section 4), non-saturating BCE for `vanilla`
    (Eq. 1), -D for `wgangp`; without `real` the same towards the label 0.
    """
    if not isinstance(logits_fake, Tensor):
        return torch.stack([generator_gan_loss(one, mode, real=real) for one in logits_fake]).mean()
    return _toward(_full(logits_fake), real=real, mode=mode)


def discriminator_gan_loss(logits_real: Logits, logits_fake: Logits, mode: GanMode, scale: float = 0.5) -> Tensor:
    """A discriminator's loss; `scale` halves it to slow it down, as in section 7.1, and in the published code with
    `wgangp` too.
    """
    if not isinstance(logits_real, Tensor) or not isinstance(logits_fake, Tensor):
        both = zip(logits_real, logits_fake, strict=True)
        return torch.stack([discriminator_gan_loss(real, fake, mode, scale) for real, fake in both]).mean()
    return scale * (
        _toward(_full(logits_real), real=True, mode=mode) + _toward(_full(logits_fake), real=False, mode=mode)
    )


def _toward(logits: Tensor, *, real: bool, mode: GanMode) -> Tensor:
    if mode == "wgangp":
        return -logits.mean() if real else logits.mean()
    target = torch.full_like(logits, float(real))
    return F.mse_loss(logits, target) if mode == "lsgan" else F.binary_cross_entropy_with_logits(logits, target)


def info_nce(queries: Tensor, keys: Tensor, tau: float) -> Tensor:
    """Cross entropy of finding each query's key among the keys of its image (Park et al. 2020, Eq. 3).

    Args:
        queries: N x P x C, unit vectors of P patches.
        keys: the same shape; key p belongs to query p and is a negative for the image's other queries.
        tau: temperature, by which the inner products are divided.
    """
    with torch.autocast(queries.device.type, enabled=False):
        logits = _full(queries) @ _full(keys).transpose(1, 2) / tau
    return -F.log_softmax(logits, dim=2).diagonal(dim1=1, dim2=2).mean()


def mixed(real: Tensor, fake: Tensor) -> Tensor:
    """A random point between each real and the fake image at its place in the batch, both N x C x H x W."""
    share = torch.rand(len(real), 1, 1, 1, dtype=real.dtype, device=real.device)
    return share * real + (1 - share) * fake


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """(|dD/dx| - 1)^2, the mean over images (Gulrajani et al. 2017, Eq. 3, at `mixed` images). D is the sum of an
    image's logits.

    Args:
        discriminator: layers that can be differentiated twice.
        images: N x C x H x W.
    """
    slope, _ = _slope(discriminator, images)
    length = cast(Tensor, slope.flatten(1).norm(dim=1))  # pyright: ignore[reportUnknownMemberType]
    return (length - 1).square().mean()


def zero_centred_penalty(discriminator: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """|dD/dx|^2 / P, the mean over images (Mescheder et al. 2018, arXiv 1801.04406, Eq. 9 without gamma / 2). D is the
    sum of an image's P logits: the quotient does not grow with the image.

    Args:
        discriminator: layers that can be differentiated twice.
        images: N x C x H x W, detached.
    """
    slope, logits = _slope(discriminator, images)
    return slope.square().sum() / logits.numel()


def _slope(discriminator: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of the sum of all logits, which can be differentiated itself, and the logits."""
    images = images.detach().requires_grad_()
    logits = _full(discriminator(images))
    (slope,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return slope, logits

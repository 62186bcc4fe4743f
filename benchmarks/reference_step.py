"""Baseline step: one CycleGAN update as in the published implementation (sections 4 and 7.1 of the paper).

Six generator calls on one image batch each, fp32, contiguous layout, two Adam optimizers, an image pool that uses
Python's `random`, and separate discriminator calls for real and fake images. Nothing of `cyclegan_dist` is used.
"""

import itertools
import random
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.reference_networks import reference_discriminator, reference_generator

LAMBDA_CYCLE, LAMBDA_IDENTITY = 10.0, 0.5


class ImagePool:
    """Generated images of earlier steps; once full, each new image is exchanged for a stored one with probability 0.5.

    Args:
        size: images at most; 0 disables the pool.
        rng: source of random numbers, with the `uniform` and `randint` of Python's `random`.
    """

    def __init__(self, size: int, rng: Any = random):
        self.size, self.images, self.rng = size, list[Tensor](), rng

    def query(self, images: Tensor) -> Tensor:
        if not self.size:
            return images
        returned: list[Tensor] = []
        for image in images.detach():
            image = image.unsqueeze(0)
            if len(self.images) < self.size:
                self.images.append(image)
                returned.append(image)
            elif self.rng.uniform(0, 1) > 0.5:
                slot = self.rng.randint(0, self.size - 1)
                returned.append(self.images[slot].clone())
                self.images[slot] = image
            else:
                returned.append(image)
        return torch.cat(returned)


class ReferenceStep:
    """Four networks and their updates. `networks` has the names and keys of the library's: G_AB, G_BA, D_A, D_B."""

    def __init__(self, ngf: int, n_blocks: int, ndf: int, pool_size: int = 50, device: str = "cpu"):
        self.networks = nn.ModuleDict(
            {
                "G_AB": reference_generator(ngf, n_blocks),
                "G_BA": reference_generator(ngf, n_blocks),
                "D_A": reference_discriminator(ndf),
                "D_B": reference_discriminator(ndf),
            }
        ).to(device)
        generators = itertools.chain(self.networks["G_AB"].parameters(), self.networks["G_BA"].parameters())
        discriminators = itertools.chain(self.networks["D_A"].parameters(), self.networks["D_B"].parameters())
        self.optimizer_G = torch.optim.Adam(generators, lr=2e-4, betas=(0.5, 0.999))
        self.optimizer_D = torch.optim.Adam(discriminators, lr=2e-4, betas=(0.5, 0.999))
        self.pool_A, self.pool_B = ImagePool(pool_size), ImagePool(pool_size)

    def __call__(self, real_A: Tensor, real_B: Tensor) -> dict[str, Tensor]:
        """One update on N x 3 x H x W in [-1, 1]. Returns the losses, on the device."""
        G_AB, G_BA, D_A, D_B = (self.networks[name] for name in ("G_AB", "G_BA", "D_A", "D_B"))
        fake_B = G_AB(real_A)
        rec_A = G_BA(fake_B)
        fake_A = G_BA(real_B)
        rec_B = G_AB(fake_A)

        _require_gradients([D_A, D_B], False)
        self.optimizer_G.zero_grad()
        losses = {
            "idt_B": F.l1_loss(G_AB(real_B), real_B),
            "idt_A": F.l1_loss(G_BA(real_A), real_A),
            "G_AB": _gan_loss(D_B(fake_B), real=True),
            "G_BA": _gan_loss(D_A(fake_A), real=True),
            "cycle_A": F.l1_loss(rec_A, real_A),
            "cycle_B": F.l1_loss(rec_B, real_B),
        }
        cycle, identity = losses["cycle_A"] + losses["cycle_B"], losses["idt_A"] + losses["idt_B"]
        (losses["G_AB"] + losses["G_BA"] + LAMBDA_CYCLE * (cycle + LAMBDA_IDENTITY * identity)).backward()
        self.optimizer_G.step()

        _require_gradients([D_A, D_B], True)
        self.optimizer_D.zero_grad()
        losses["D_B"] = _train_discriminator(D_B, real_B, self.pool_B.query(fake_B))
        losses["D_A"] = _train_discriminator(D_A, real_A, self.pool_A.query(fake_A))
        self.optimizer_D.step()
        return {name: loss.detach() for name, loss in losses.items()}


def _train_discriminator(D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    loss = 0.5 * (_gan_loss(D(real), real=True) + _gan_loss(D(fake.detach()), real=False))
    loss.backward()
    return loss


def _gan_loss(logits: Tensor, *, real: bool) -> Tensor:
    """Least-squares loss against a map of ones or zeros."""
    target = torch.tensor(float(real), dtype=logits.dtype, device=logits.device)
    return F.mse_loss(logits, target.expand_as(logits))


def _require_gradients(networks: Iterable[nn.Module], wanted: bool) -> None:
    for network in networks:
        for parameter in network.parameters():
            parameter.requires_grad = wanted

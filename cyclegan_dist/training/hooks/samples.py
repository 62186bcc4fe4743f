"""The same few images, translated again and again: what a person looks at to see whether it learns."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.utils import make_grid, save_image

from cyclegan_dist.data.images import visible
from cyclegan_dist.step.update import Step
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.training.hooks.progress import Progress


class SampleGrid:
    """Every `every` images, a PNG with a column for each fixed pair and the rows real_A, fake_B, rec_A, real_B, fake_A,
    rec_B.

    On rank 0 only; `images` are `real_A` and `real_B`, n x C x H x W in [-1, 1], on the device.
    """

    def __init__(self, every: int, run_dir: Path, step: Step, images: dict[str, Tensor], journal: Journal):
        self.every, self.run_dir, self.step, self.images, self.journal = every, run_dir, step, images, journal

    def __call__(self, at: Progress) -> None:
        if at.due(self.every):
            self._write(at)

    def end(self, at: Progress) -> None:
        if self.every and not self._path(at).exists():
            self._write(at)

    def _write(self, at: Progress) -> None:
        path = self._path(at)
        try:
            path.parent.mkdir(exist_ok=True)
            save_image(translation_grid(self.step.generators, self.images["real_A"], self.images["real_B"]), path)
        except OSError as error:
            self.journal.message(f"sample grid {path.name} was not written: {error}")
            return
        self.journal.write("image", step=at.step, key="samples", path=str(path.relative_to(self.run_dir)))

    def _path(self, at: Progress) -> Path:
        return self.run_dir / "samples" / f"nimg-{at.nimg:09d}.png"


@torch.no_grad()
def translation_grid(generators: torch.nn.ModuleDict, real_A: Tensor, real_B: Tensor) -> Tensor:
    """3 x H x W in [0, 1]: six rows, as `SampleGrid` says."""
    G_AB, G_BA = generators["G_AB"], generators["G_BA"]
    generators.eval()
    fake_B, fake_A = G_AB(real_A), G_BA(real_B)
    halves = [_rows(real_A, fake_B, G_BA(fake_B)), _rows(real_B, fake_A, G_AB(fake_A))]
    generators.train()
    width = max(half.shape[2] for half in halves)  # the two domains may come in different sizes
    return torch.cat([F.pad(half, (0, width - half.shape[2])) for half in halves], dim=1)


def _rows(*rows: Tensor) -> Tensor:
    in_colour = [visible(row).float().expand(-1, 3, -1, -1) for row in rows]
    return make_grid(torch.cat(in_colour).cpu(), nrow=len(rows[0]), normalize=True, value_range=(-1, 1))

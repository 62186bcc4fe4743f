"""The same few images, translated again and again: what a person looks at to see whether it learns."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_dist.data.captions import captioned
from cyclegan_dist.data.domain_names import NO_NAMES, Names, picture_labels
from cyclegan_dist.data.images import visible
from cyclegan_dist.networks.coupled import CoupledGenerator
from cyclegan_dist.step.memory import SMALLER, memory_errors
from cyclegan_dist.step.update import Step
from cyclegan_dist.storage.files import atomic
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.training.hooks.progress import Progress


class SampleGrid:
    """Before the first step and every `every` images, a PNG with a column for each fixed image. For each direction the
    rows are input, translation and, where the method translates back, reconstruction; else the other domain's image:
    with pairs, what the translation should be. A method that translates by optimisation shows pairs that it makes of
    fixed latents: a search for each image takes minutes, in which other ranks wait. If the domains have names, each row
    has a caption: `summer`, `summer to winter`, `back to summer`.

    A step whose image is in the journal is left out. On rank 0 only; `images` are `real_A` and `real_B`, n x C x H x W
    in [-1, 1], on the device.
    """

    def __init__(
        self,
        every: int,
        run_dir: Path,
        step: Step,
        images: dict[str, Tensor],
        journal: Journal,
        names: Names = NO_NAMES,
    ):
        self.every, self.run_dir, self.step, self.images, self.journal = every, run_dir, step, images, journal
        self.names = names

    def __call__(self, at: Progress) -> None:
        if at.due(self.every):
            self._write(at)

    def end(self, at: Progress) -> None:
        if self.every:
            self._write(at)

    def _write(self, at: Progress) -> None:
        if self.journal.has("image", step=at.step):
            return
        from torchvision.utils import save_image  # takes a second to load, which runs without samples do not need

        path = self._path(at)
        count, _, _, side = self.images["real_A"].shape
        place = f"rank 0, grid of samples after step {at.step}"
        try:
            path.parent.mkdir(exist_ok=True)
            with atomic(path) as draft:
                with memory_errors(place, images=count, size=side, less=f"{SMALLER}, set every.samples 0"):
                    grid = translation_grid(self.step.translators, self.images, self.names)
                save_image(grid, draft)
        except OSError as error:
            self.journal.message(f"sample grid {path.name} was not written: {error}")
            return
        self.journal.write("image", step=at.step, key="samples", path=str(path.relative_to(self.run_dir)))
        if not at.step:
            self.journal.message(f"see whether the images are read as they should be: {path}")

    def _path(self, at: Progress) -> Path:
        return self.run_dir / "samples" / f"nimg-{at.nimg:09d}.png"


@torch.no_grad()
def translation_grid(
    translators: Mapping[str, nn.Module], images: Mapping[str, Tensor], names: Names = NO_NAMES
) -> Tensor:
    """3 x H x W in [0, 1]: three rows for each direction, or the two of pairs, as `SampleGrid` says."""
    first = translators.get("AB")
    if isinstance(first, CoupledGenerator):
        return _below_each_other(_grids(first.examples(images["real_A"]), [*names.values()]), bool(names))
    for network in translators.values():
        network.eval()
    parts: list[Tensor] = []
    for direction, network in translators.items():
        real, other = (images[f"real_{domain}"] for domain in direction)
        fake, back = network(real), translators.get(direction[::-1])
        labels = picture_labels(direction, names)
        kinds = ("input", "translation", "truth" if back is None else "reconstruction")
        rows = (real, fake, other if back is None else back(fake))
        parts += _grids(rows, [labels[kind] for kind in kinds if labels])
    for network in translators.values():
        network.train()
    return _below_each_other(parts, bool(names))


def _grids(rows: Sequence[Tensor], captions: Sequence[str]) -> list[Tensor]:
    """One grid of all rows, or with captions one of each."""
    from torchvision.utils import make_grid

    in_colour = [visible(row).float().expand(-1, 3, -1, -1).cpu() for row in rows]
    count, limits = len(rows[0]), (-1, 1)
    if not captions:
        return [make_grid(torch.cat(in_colour), nrow=count, normalize=True, value_range=limits)]
    return [
        captioned(make_grid(row, nrow=count, normalize=True, value_range=limits), text)
        for row, text in zip(in_colour, captions, strict=True)
    ]


def _below_each_other(parts: Sequence[Tensor], on_white: bool) -> Tensor:
    width = max(part.shape[2] for part in parts)  # the two domains may come in different sizes
    padded = [F.pad(part, (0, width - part.shape[2]), value=float(on_white)) for part in parts]
    return torch.cat(padded, dim=1)

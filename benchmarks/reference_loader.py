"""Baseline loader: images loaded as in the published implementation, from two folders, one file at a time.

Opened with Pillow, then torchvision transforms: resize to load_size x load_size (bicubic), random crop, mirror with
probability 0.5, convert to a tensor in [-1, 1]. A is read in order and B at random, as in its unaligned data set.
"""

import random
from pathlib import Path

from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class FolderPairs(Dataset[dict[str, Tensor]]):
    """One image of each of two folders, 3 x crop_size x crop_size in [-1, 1]."""

    def __init__(self, folder_A: Path, folder_B: Path, load_size: int, crop_size: int):
        self.A, self.B = (
            sorted(path for path in folder.iterdir() if path.is_file()) for folder in (folder_A, folder_B)
        )
        self.transform = transforms.Compose(
            [
                transforms.Resize((load_size, load_size), transforms.InterpolationMode.BICUBIC),
                transforms.RandomCrop(crop_size),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
            ]
        )

    def __len__(self) -> int:
        return max(len(self.A), len(self.B))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        paths = {"real_A": self.A[index % len(self.A)], "real_B": random.choice(self.B)}
        return {name: self.transform(Image.open(path).convert("RGB")) for name, path in paths.items()}  # pyright: ignore


def reference_loader(
    folder_A: Path, folder_B: Path, load_size: int, crop_size: int, workers: int
) -> DataLoader[dict[str, Tensor]]:
    """Batches of one pair, shuffled."""
    pairs = FolderPairs(folder_A, folder_B, load_size, crop_size)
    return DataLoader(pairs, batch_size=1, shuffle=True, num_workers=workers)

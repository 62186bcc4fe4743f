"""Unpaired image-to-image translation (CycleGAN, Zhu et al. 2017) on many machines."""

__version__ = "0.1.0"

"""Evaluation of a model: distances between sets of images, errors image by image, and known failures."""

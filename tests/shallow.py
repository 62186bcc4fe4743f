"""Frozen networks cut off after two scales, for tests of what is done with their features."""

import itertools

import pytest

from cyclegan_dist.networks.pretrained import COMPARED_LAYERS, PYRAMIDS

SCALES = 2  # of four: most of the time of a step goes into the others, and in double precision even more


def cut_off_frozen_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packaged networks give features of their first scales only, to losses and to projected discriminators."""
    for name, layers in COMPARED_LAYERS.items():
        monkeypatch.setitem(COMPARED_LAYERS, name, layers[:SCALES])
    for name, channels in PYRAMIDS.items():
        monkeypatch.setitem(PYRAMIDS, name, dict(itertools.islice(channels.items(), SCALES)))

import torch

from cyclegan_dist.data.captions import captioned


def test_a_caption_is_dark_on_white_above_the_row() -> None:
    for row, white in ((torch.full((3, 10, 120), 0.5), 1.0), (torch.full((3, 10, 120), 99, dtype=torch.uint8), 255)):
        made = captioned(row, "summer")
        assert made.dtype == row.dtype and made.shape[0] == 3 and made.shape[2] == 120
        assert torch.equal(made[:, -10:], row)
        strip = made[:, :-10]
        assert strip.max() == white and strip.min() < 0.3 * white
        assert not torch.equal(strip, captioned(row, "winter")[:, :-10])


def test_a_row_that_is_narrower_than_its_caption_gets_white_beside_it() -> None:
    made = captioned(torch.zeros(3, 10, 12), "a long name to another one")
    assert made.shape[2] > 100 and bool((made[:, -10:, 12:] == 1).all()) and bool((made[:, -10:, :12] == 0).all())

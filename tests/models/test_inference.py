import pytest
import torch

from cyclegan_dist.data.images import to_bytes, to_unit_range
from cyclegan_dist.models.inference import translate
from cyclegan_dist.networks.build import build_generator
from cyclegan_dist.networks.config import GeneratorConfig, InitConfig

RESNET = build_generator(3, 3, GeneratorConfig(ngf=4, n_blocks=1), InitConfig())
UNET = build_generator(3, 3, GeneratorConfig(arch="unet", ngf=2, n_downs=5), InitConfig())


def pixels(*size: int) -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)


@pytest.mark.parametrize("network", [RESNET, UNET], ids=["resnet", "unet"])
@pytest.mark.parametrize("size", [(64, 64), (33, 47), (1, 1), (5, 200), (31, 1)])
def test_outputs_have_the_size_of_their_inputs(network, size) -> None:
    out = translate(network, pixels(*size))
    assert out.shape == (2, 3, *size)
    assert out.dtype == torch.uint8


def test_a_fitting_image_is_not_touched_before_the_network() -> None:
    x = pixels(32, 48)
    expected = to_bytes(RESNET(to_unit_range(x, torch.device("cpu"))))
    assert torch.equal(translate(RESNET, x), expected)


def test_a_batch_is_its_images_one_by_one() -> None:
    x = pixels(32, 32)
    single = torch.cat([translate(RESNET, image[None]) for image in x])
    assert (translate(RESNET, x).int() - single.int()).abs().max() <= 1

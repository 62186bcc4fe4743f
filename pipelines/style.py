"""Compare translations with neural style transfer, on one page.

    python -m pipelines.style SOURCE --data DATA [--split test] [--styles IMAGE IMAGE] [--out OUT]

The style transfer is that of Gatys et al. 2016, and the comparison the paper's. SOURCE is a run, of which the newest
snapshot is taken, a snapshot, or a registered model: models:/NAME@champion. Each input is shown as it is, in the style
of two images, one by one, in the mean style of all images of the domain that SOURCE translates to, and translated. The
page is OUT/index.html; it holds its pictures, which are also files in OUT/images. Stopped or killed, run the same
command again: what is there is not computed again.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.config.yaml_tree import check_tree
from cyclegan_dist.data.domain_names import chosen_direction, direction_label, domain_label, refuse_no_direction
from cyclegan_dist.data.location import data_path
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.networks.bounds import Ge, Gt
from cyclegan_dist.networks.pretrained import refuse_missing_weights
from cyclegan_dist.registry.sources import open_source, refuse_missing_source
from cyclegan_dist.step.world_config import Device
from cyclegan_dist.storage.files import lock
from cyclegan_dist.style.options import StyleOptions


@dataclass(frozen=True)
class StyleCommand:
    """Compare translations with neural style transfer."""

    source: tyro.conf.Positional[str]
    """Folder of a run or snapshot, or models:/NAME@ALIAS."""
    data: str
    """Data set: folder or fsspec URL. All images of the domain that is translated to are the collection."""
    split: str = ""
    """Its part that inputs are taken from, a data set in a folder of it: test. By default the data set itself."""
    direction: Annotated[str, tyro.conf.arg(metavar="{AB,BA,NAME-to-NAME}")] = "AB"
    """AB: inputs of domain A of the data set, styles of domain B. If the domains have names also by these, as
    summer-to-winter."""
    styles: tuple[Path, ...] = ()
    """Image files whose styles are taken one by one. By default two images of the collection: of 32 evenly spaced
    ones those whose style is nearest to that of all together."""
    out: Path = Path("style")
    """Folder of the page and the pictures."""
    count: Annotated[int, Ge(0)] = 4
    """Inputs, evenly spaced over their domain. 0: all."""
    size: Annotated[int, Ge(0)] = 0
    """Pixels of both sides of all images. 0: what the model was trained on."""
    batch_size: Annotated[int, Gt(0)] = 4
    """Images that are computed at once."""
    device: Device = "auto"
    """cpu or cuda; auto takes a GPU if there is one."""
    how: Annotated[StyleOptions, tyro.conf.arg(name="")] = field(default_factory=StyleOptions)
    """The style transfer."""


def compare(command: StyleCommand) -> Path:
    """Make what is missing of the comparison. Returns the path of the page.

    Raises:
        UsageError: for errors that the user can fix.
    """
    refuse_missing_source(command.source)
    refuse_no_direction(command.direction)
    refuse_missing_weights(command.how.features)
    if missing := next((path for path in command.styles if not path.is_file()), None):
        raise UsageError(f"--styles: there is no file {missing}")
    data, part = data_path(command.data), data_path(command.data, command.split)
    # These load torch.
    from cyclegan_dist.data.manifest import READING, open_manifest
    from cyclegan_dist.step.distributed import join
    from cyclegan_dist.style.comparison import Comparer
    from cyclegan_dist.style.page import write_page
    from cyclegan_dist.style.pictures import Pictures

    snapshot = open_source(command.source)
    collection = open_manifest(data, (*READING, "name"))
    inputs = open_manifest(part, (*READING, "name")) if command.split else collection
    direction, names = chosen_direction(command.direction, collection.domain_names), collection.domain_names
    report = Console(stderr=True, soft_wrap=True, markup=False, highlight=False).print
    comparer = Comparer(
        snapshot,
        direction,
        inputs,
        collection,
        command.how,
        size=command.size,
        pictures=Pictures(command.out / "images", command.batch_size, report),
        device=join(command.device).device,
    )
    target = domain_label(direction[1], names)
    facts = {
        "model": f"{snapshot.card.get('run', '')} {snapshot.folder.name}".strip(),
        "data": f"{inputs.root}, {direction_label(direction, names)}",
        "collection": f"{len(comparer.collection)} images of domain {target} of {collection.root}",
        "features": comparer.network.name,
        "content layer": command.how.content,
        "style layers": ", ".join(command.how.style),
        "style weight": f"{command.how.style_weight:g}",
        "steps": f"{command.how.steps} of Adam, learning rate {command.how.lr:g}, from {command.how.start}",
    }
    try:
        command.out.mkdir(parents=True, exist_ok=True)
        with lock(command.out / ".lock", held=f"another process writes {command.out}: choose another --out"):
            comparison = comparer.compare(command.styles, command.count)
            return write_page(comparison, command.out, snapshot.method, facts)
    except OSError as error:
        raise UsageError(f"cannot write {command.out}: {error.strerror or error}; choose another --out") from error


def main() -> None:
    """Read the command line and compare."""
    command = parse_options(StyleCommand, "style", __doc__)
    check_tree(dataclasses.asdict(command.how), StyleOptions, "the options")  # first: errors name options without how.
    print(f"page: {compare(check_tree(dataclasses.asdict(command), StyleCommand, 'the options'))}")


if __name__ == "__main__":
    run_command(main)

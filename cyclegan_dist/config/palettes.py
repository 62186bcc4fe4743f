"""Palettes from YAML files."""

from cyclegan_dist.config.shipped import read_shipped
from cyclegan_dist.config.yaml_tree import check_tree, read_tree, refuse_unknown
from cyclegan_dist.data.palette import Palette
from cyclegan_dist.errors import UsageError


def open_palette(name_or_file: str) -> Palette:
    """A shipped palette by its name, or one out of a YAML file.

    Raises:
        UsageError: if there is none, or it is no palette.
    """
    text, source = read_shipped(name_or_file, "palette")
    tree = read_tree(text, source)
    try:
        refuse_unknown(tree, ("domain", "classes", "ignored"), source)
        return check_tree(tree, Palette, source)
    except UsageError as error:
        raise UsageError(
            f"{error}: a palette has domain: A or B, and classes with colours [red, green, blue]"
        ) from None

"""What was done with the files of a domain, a line for each kind."""

from collections import Counter
from collections.abc import Iterator

from cyclegan_dist.data.encode import EncodedImage, Reading
from cyclegan_dist.data.picture import Source
from cyclegan_dist.data.shard_record import ShardRecord


class Summary:
    """Counts the images of a domain.

    Args:
        domain: its name or letter.
        reading: how its files are read.
        side: the shorter side in pixels that the version before seems to have been reduced to; None if to none.
    """

    def __init__(self, domain: str, reading: Reading, side: int | None = None):
        self.domain, self.reading, self.side = domain, reading, side
        self._bits: Counter[int] = Counter()
        self._bands: Counter[int] = Counter()
        self._profiles: Counter[str] = Counter()
        self._over_white = self._turned = self._larger = 0
        self._pixels = self._clipped = 0.0

    def add(self, image: EncodedImage) -> None:
        """Count an image."""
        if image.source is not None:
            size = image.width, image.height
            self._add(image.source, image.mode, size, image.width * image.height * image.clipped)

    def add_shard(self, record: ShardRecord) -> None:
        """Count the images of a shard that is complete already."""
        fields = ("bits", "bands", "alpha", "profile", "orientation")
        for row in record.rows.to_pylist():
            source = Source(**{name: row[name] for name in fields})
            self._add(source, row["mode"], (row["width"], row["height"]), 0.0)
        self._clipped += record.clipped

    def _add(self, source: Source, mode: str, size: tuple[int, int], clipped: float) -> None:
        self._bits[source.bits] += 1
        if self.reading.bands or mode not in ("L", "RGB"):
            self._bands[source.bands] += 1
        self._over_white += bool(source.alpha)
        self._profiles[source.profile] += bool(source.profile)
        self._turned += source.orientation != 1
        self._larger += self.side is not None and min(size) > self.side
        if source.bits > 8:
            self._pixels += size[0] * size[1]
            self._clipped += clipped

    def lines(self) -> Iterator[str]:
        """For people."""
        if values := self.reading.values:
            deep = {bits: count for bits, count in sorted(self._bits.items()) if bits > 8}
            kinds = " and ".join(f"{_images(count)} of {bits} bits" for bits, count in deep.items()) or _images(0)
            share = 100 * self._clipped / self._pixels if self._pixels else 0
            clipped = f"{share:.1f} %" if share >= 0.05 or not share else "less than 0.1 %"
            yield (
                f"{self.domain}: {kinds}, black {values.black:g}, white {values.white:g}; {clipped} of values clipped"
            )
            if others := sum(self._bits.values()) - sum(deep.values()):
                yield f"{self.domain}: {_images(others)} of 8 bits, black 0, white 255"
        for bands, count in sorted(self._bands.items()):
            taken = ", ".join(map(str, self.reading.bands or ())) or "all"
            yield f"{self.domain}: {_images(count)} of {bands} bands, taken: {taken}"
        for name, count in sorted(self._profiles.items()):
            if count:
                yield f"{self.domain}: {_images(count)} converted from {name} to sRGB"
        if self._over_white:
            yield f"{self.domain}: {_images(self._over_white)} with transparency over white"
        if self._turned:
            yield f"{self.domain}: {_images(self._turned)} turned by their orientation tag"
        if self._larger:
            yield (
                f"{self.domain}: {_images(self._larger)} larger than those of the version before, whose shorter sides "
                f"have at most {self.side} pixels: if it had --load-size {self.side}, give it again, with --overwrite"
            )


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"

"""What was done with the files of a domain, a line for each kind."""

from collections import Counter
from collections.abc import Iterable, Iterator

from cyclegan_dist.data.encode import EncodedImage, Reading


class Summary:
    """Counts the images of a domain as they pass by."""

    def __init__(self, domain: str, reading: Reading):
        self.domain, self.reading = domain, reading
        self._bits: Counter[int] = Counter()
        self._bands: Counter[int] = Counter()
        self._profiles: Counter[str] = Counter()
        self._over_white = self._turned = 0
        self._pixels = self._clipped = 0.0

    def of(self, images: Iterable[EncodedImage]) -> Iterator[EncodedImage]:
        """The same images, counted."""
        for image in images:
            if image.source is not None:
                self._add(image)
            yield image

    def _add(self, image: EncodedImage) -> None:
        source = image.source
        assert source is not None
        self._bits[source.bits] += 1
        if self.reading.bands or image.mode not in ("L", "RGB"):
            self._bands[source.bands] += 1
        self._over_white += bool(source.alpha)
        self._profiles[source.profile] += bool(source.profile)
        self._turned += source.orientation != 1
        if source.bits > 8:
            self._pixels += image.width * image.height
            self._clipped += image.width * image.height * image.clipped

    def lines(self) -> Iterator[str]:
        """For people."""
        if values := self.reading.values:
            deep = {bits: count for bits, count in sorted(self._bits.items()) if bits > 8}
            kinds = " and ".join(f"{_images(count)} of {bits} bits" for bits, count in deep.items())
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


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"

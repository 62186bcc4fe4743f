"""Drill G33: archives whose members lead out of their folder, or are links."""

import hashlib
import io
import tarfile
from pathlib import Path

from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.shards import write_manifest
from cyclegan_dist.data.verify import check_shard, samples_by_shard
from cyclegan_dist.errors import UsageError
from tests.conftest import write_images
from tests.faults.matrix import Measured, Stage, row
from tests.training.trainings import go

LINK, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE
MEMBERS = {
    "parent": ("../../escaped.png", b""),
    "absolute": ("{root}/escaped.png", b""),
    "through a link": ("link/escaped.png", b""),
    "symbolic link": ("000000000.png", LINK),
    "hard link": ("000000000.png", HARD),
    "device": ("000000000.png", tarfile.CHRTYPE),
    "pipe": ("000000000.png", tarfile.FIFOTYPE),
}


@row(
    "G33",
    "shards and sources of `prepare` are tars with members named ../x and /x, links, devices and pipes",
    "nothing is extracted: members are read by offset and hash, whatever they are called; sources that are tars are no "
    "images",
)
def hostile_members(stage: Stage) -> Measured:
    root = stage.folder / "root"
    images = write_images(stage.folder / "images", 4)
    trained = verified = written = refused = 0
    members = list(MEMBERS.values())[:: 1 if stage.thorough else 3]
    for number, (name, kind) in enumerate(members):
        dataset = root / "deep" / str(number)
        _write(dataset, images, name.format(root=root), kind)
        verified += not any(
            check_shard(manifest, shard, *samples)
            for manifest in [open_manifest(str(dataset))]
            for shard, samples in samples_by_shard(manifest).items()
        )
        trained += go(stage.run(name=f"run{number}", data__path=str(dataset), stop_after=4)) == "FINISHED"
        written += len(list(root.rglob("escaped*")) + list(stage.folder.glob("escaped*")))
        source = dataset / "A"
        try:
            prepare(PrepareConfig(source, source, stage.folder / f"prepared{number}", workers=1))
        except UsageError as error:
            refused += "\n" not in str(error)
        written += len(list(root.rglob("escaped*")) + list(stage.folder.glob("escaped*")))
    count = len(members)
    return Measured(
        f"{count} kinds of members: verified {verified} of {count}, trained on {trained} of {count}, files written outside "
        f"{written}; folders of such tars prepared: refused {refused} of {count}",
        verified == trained == refused == count and not written,
    )


def _write(dataset: Path, images: Path, name: str, kind: bytes) -> None:
    """A data set whose shards begin with a hostile member; its images are called so too, where they can be."""
    rows, shards = [], {}
    for domain in "AB":
        shard = dataset / domain / f"{domain}-000000.tar"
        shard.parent.mkdir(parents=True)
        with tarfile.open(shard, "w") as tar:
            if kind:
                special = tarfile.TarInfo(name)
                special.type, special.linkname = kind, "/etc/passwd"
                tar.addfile(special)
            elif name.startswith("link/"):
                link = tarfile.TarInfo("link")
                link.type, link.linkname = LINK, "../.."
                tar.addfile(link)
            for path in sorted(images.iterdir()):
                data = path.read_bytes()
                member = tarfile.TarInfo(name if not kind else path.name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        with tarfile.open(shard) as tar:
            files = [member for member in tar if member.isreg()]
        for index, (path, member) in enumerate(zip(sorted(images.iterdir()), files, strict=True)):
            fields = {"domain": domain, "key": f"{index:09d}", "name": path.name, "shard": f"{domain}/{shard.name}"}
            fields |= {"offset": member.offset_data, "size": member.size, "width": 24, "height": 24, "mode": "RGB"}
            rows.append({**fields, "sha256": hashlib.sha256(path.read_bytes()).digest()})
        content = shard.read_bytes()
        facts = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "samples": len(files)}
        shards[f"{domain}/{shard.name}"] = facts
    write_manifest(str(dataset / "manifest.parquet"), rows, shards)

"""Drill F9: YAML and JSON files with tags, alias bombs, deep nesting or unknown keys."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from cyclegan_dist.config.config import load_config
from cyclegan_dist.config.palettes import open_palette
from cyclegan_dist.data.manifest import MANIFEST, open_manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import CARD, Snapshot
from cyclegan_dist.promotion.gate import read_gate
from cyclegan_dist.sweep.spec import load_sweep
from cyclegan_dist.training.run_folder import read_config
from tests.faults.matrix import Measured, Stage, row
from tests.service.running import make_snapshot

MAX_S = 5.0
DEEP = 100_000


def _tags(mark: Path) -> list[str]:
    command = f"touch {mark}"
    return [
        f'name: !!python/object/apply:os.system ["{command}"]',
        f'name: !!python/object/new:subprocess.Popen [["touch", "{mark}"]]',
        f"name: !!python/object/apply:builtins.eval [\"__import__('os').system('{command}')\"]",
        "name: !!python/name:os.system",
        "name: !!python/module:os",
        "? !!python/tuple [1, 2]\n: 3",
        "name: !include /etc/passwd",
    ]


def _yaml_bombs() -> list[str]:
    """Nested aliases in lists, mappings and merges, deep nesting, and a long number."""
    levels = range(1, 40)
    return [
        "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in levels),
        "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}\n" for i in levels),
        "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in levels),
        "name: &a [*a]",
        "[" * 3000,
        "{a: " * 3000,
        f"seed: {'9' * 5000}",
    ]


@row(
    "F9",
    "configurations, sweeps, gates, palettes, cards and manifests with tags, alias bombs or unknown keys",
    "refused in one line, quickly; no code is run",
    slow=True,
)
def injected(stage: Stage) -> Measured:
    mark, path = stage.folder / "executed", stage.folder / "file.yaml"
    run = stage.folder / "run"
    run.mkdir()
    readers: dict[str, Callable[[str], object]] = {
        "config": lambda text: _written(path, text) and load_config(str(path)),
        "run": lambda text: _written(run / "config.yaml", text) and read_config(run),
        "sweep": lambda text: _written(path, text) and load_sweep(str(path), {}),
        "gate": lambda text: _written(path, text) and read_gate(str(path)),
        "palette": lambda text: _written(path, text) and open_palette(str(path)),
    }
    all_texts = [*_tags(mark), *_yaml_bombs()]
    texts = {what: all_texts[: None if stage.thorough or what == "config" else len(_tags(mark))] for what in readers}
    took = {
        f"{what} {i}": _refused_in(lambda r=r, t=t: r(t))
        for what, r in readers.items()
        for i, t in enumerate(texts[what])
    }
    unknown = [
        ("config", "method: {lambda_cyle_A: 1}", "lambda_cycle_A"),
        ("config", "optim: {batchsize: 1}", "batch_size"),
        ("run", "sed: 1", "seed"),
    ]
    unknown += [("sweep", "base: demo\nspaces: {}", "space"), ("gate", "figur: x", "figur")]
    suggested = sum(_suggests(lambda r=r, t=t: readers[r](t), word) for r, t, word in unknown)
    took |= {f"card {i}": _refused_in(lambda c=change: _card(stage, c)) for i, change in enumerate(_cards())}
    took |= {f"manifest {i}": _refused_in(lambda m=meta: _manifest(stage, m)) for i, meta in enumerate(_metadata())}
    accepted = [what for what, seconds in took.items() if seconds is None]
    slowest = max(seconds for seconds in took.values() if seconds is not None)
    return Measured(
        f"refused {len(took) - len(accepted)} of {len(took)} {accepted[:5] or ''}, within {slowest:.1f} s; commands run "
        f"{int(mark.exists())}; unknown keys named {suggested} of {len(unknown)}",
        not accepted and slowest < MAX_S and not mark.exists() and suggested == len(unknown),
    )


def _written(path: Path, text: str) -> bool:
    path.write_text(text)
    return True


def _refused_in(attempt: Callable[[], object]) -> float | None:
    """Seconds until a refusal in one line; None if the file was accepted or another error was raised."""
    began = time.monotonic()
    try:
        attempt()
    except UsageError as error:
        return time.monotonic() - began if "\n" not in str(error) else None
    except (Exception, RecursionError):
        return None
    return None


def _suggests(attempt: Callable[[], object], word: str) -> bool:
    try:
        attempt()
    except UsageError as error:
        return word in str(error)
    return False


def _cards() -> list[Callable[[dict[str, Any]], object]]:
    """Invalid changes of a model card."""
    return [
        lambda card: card["generator"].update(ngf=1_000_000),
        lambda card: card["generator"].update(n_blocks=1_000_000_000),
        lambda card: card["generator"].update(arch="unet", n_downs=1_000_000_000),
        lambda card: card["generator"].update(arch="os.system"),
        lambda card: card["generator"].update(ngf="64; touch x"),
        lambda card: card["generator"].update(n_block=1),
        lambda card: card.update(input_nc=-1),
        lambda card: card.update(input_nc=1 << 40),
        lambda card: card.update(output_nc=[3]),
        lambda card: card.update(generator=None),
        lambda card: card.update(directions=["../../AB"]),
        lambda card: card.update(directions={"AB": 1}),
        lambda card: card.pop("generator"),
        lambda card: card.clear(),
    ]


def _card(stage: Stage, change: Callable[[dict[str, Any]], object]) -> None:
    folder = stage.folder / "card"
    if not folder.exists():
        make_snapshot(folder)
        (stage.folder / CARD).write_text((folder / CARD).read_text())
    card = json.loads((stage.folder / CARD).read_text())
    change(card)
    (folder / CARD).write_text(json.dumps(card))
    Snapshot.open(folder).generator("AB")


def _metadata() -> list[bytes]:
    """Invalid metadata of a manifest's shards."""
    return [
        b"null",
        b"[]",
        b'{"version": 1}',
        b'{"version": "x", "shards": {}}',
        b'{"version": 1, "shards": []}',
        b'{"version": 1, "shards": {"/etc/passwd": {"bytes": 1}}}',
        b'{"version": 1, "shards": {"pipe:touch x": {"bytes": 1}}}',
        b'{"version": 1, "shards": {"a.tar": {"bytes": "x"}}}',
        b"[" * DEEP,
        b'{"version": ' * DEEP,
    ]


def _manifest(stage: Stage, metadata: bytes) -> None:
    source = pq.read_table(stage.dataset / MANIFEST)
    folder = stage.folder / "manifest"
    folder.mkdir(exist_ok=True)
    pq.write_table(source.replace_schema_metadata({b"cyclegan_dist": metadata}), folder / MANIFEST)
    open_manifest(str(folder))

"""Links to a study, one for each participant, and the text that participants agree to."""

import math
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import write_atomic
from cyclegan_dist.study.answers import Answers
from cyclegan_dist.study.design import CONSENT, Protocol

LINKS = "links.txt"
SECONDS_TO_ANSWER = 10  # generous, for the consent text: 50 trials are about ten minutes


def consent_text(protocol: Protocol) -> str:
    """The text for participants that a new study begins with."""
    minutes = math.ceil((protocol.practice + protocol.scored) * (protocol.exposure_ms / 1000 + SECONDS_TO_ANSWER) / 60)
    return f"""\
In this study you see pairs of images. One image of each pair is a photograph or another real image, the other was \
made by a computer program. Each pair is shown for {protocol.exposure_ms / 1000:g} s. Then you say which image was \
real. You may take as long as you like to answer.

There are {protocol.practice + protocol.scored} pairs: {protocol.practice} for practice, after which you see whether \
you were right, and {protocol.scored} that count. This takes about {minutes} \
minute{"s" * (minutes > 1)}. You can take part once.

For each pair we store which side you chose, how long the images were shown and how long you took. We do not store \
your name, your address on the network, your kind of browser or the time of day.

Taking part is voluntary. You may stop at any time by closing the page; incomplete sessions are not evaluated.
"""


def read_consent(folder: Path) -> str:
    """The text of a study, which its owner may have edited.

    Raises:
        UsageError: if it is empty or cannot be read.
    """
    path = folder / CONSENT
    try:
        text = path.read_text()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}, the text that participants agree to, cannot be read: {error}") from error
    if not text.strip():
        raise UsageError(f"{path} is empty: write the text that participants agree to")
    return text


def read_tokens(folder: Path) -> list[str]:
    """The tokens of the links that were made so far and are still in `links.txt`."""
    path = folder / LINKS
    return [line.rpartition("#")[2] for line in path.read_text().split()] if path.exists() else []


def make_links(folder: Path, answers: Answers, url: str, count: int, expires: float) -> list[str]:
    """Add links until there are `count`, and write all of them to `links.txt`, which only its owner can read.

    The token is behind `#`: browsers do not send that part to servers, so it is in no log and in no Referer.

    Args:
        folder: of the study.
        answers: its database.
        url: of the page.
        count: links in all, used or not.
        expires: of new links, in seconds since 1970.

    Returns:
        All links, in the order in which they were made.
    """
    tokens = read_tokens(folder)
    new = [secrets.token_urlsafe(16) for _ in range(count - answers.sessions())]
    # The file first: after a kill between the two, it has links that are not valid, and never sessions without a link.
    links = [f"{url.rstrip('/')}/#{token}" for token in (*tokens, *new)]
    _write_private(folder / LINKS, links)
    answers.add(new, expires)
    return links


def _write_private(path: Path, lines: Sequence[str]) -> None:
    before = os.umask(0o077)
    try:
        write_atomic(path, "".join(f"{line}\n" for line in lines))
    finally:
        os.umask(before)

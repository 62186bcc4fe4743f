"""Names of the two domains, `summer` and `winter` for example: what they may be, and what people read instead of A and
B. Files, options and figures keep the letters.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from cyclegan_dist.errors import UsageError

Names = Mapping[str, str]
"""The name of each domain, A and B; empty if they have none."""
NO_NAMES: Names = MappingProxyType({})
LONGEST = 30  # characters
PREPARE_AGAIN = "prepare it with the two folders, and --names, in the other order"
_WORDS = r"[A-Za-z0-9]+(?:[ _-][A-Za-z0-9]+)*"
_OTHER = {"A": "B", "B": "A"}
_TAKEN = ("a", "b", "ab", "ba", "atob", "btoa")  # mean domains and directions, whatever the names are


def check_names(names: Sequence[str]) -> dict[str, str]:
    """The names of A and B by domain; none if all are empty.

    Raises:
        UsageError: if they are not two different names of at most 30 ASCII letters, digits and single spaces, dashes or
            underscores between them; or one is `A`, `AB` or the like, or has the word `to`.
    """
    if not any(names):
        return {}
    given = f"--names {ascii(' '.join(names))[1:-1][:100]}"
    if len(names) != 2 or not all(names):
        raise UsageError(f"{given}: give two names, that of A and that of B, as summer winter")
    for name in names:
        if len(name) > LONGEST or not re.fullmatch(_WORDS, name):
            raise UsageError(
                f"{given}: a name has at most {LONGEST} letters from A to Z and digits, and single spaces, dashes or "
                "underscores between them"
            )
        if _key(name) in _TAKEN or "to" in _key(name).split("-"):
            raise UsageError(f"{given}: A, B, AB, BA and the word `to` mean directions: give other names")
    if _key(names[0]) == _key(names[1]):
        raise UsageError(f"{given}: both names are the same: give two different ones")
    return dict(zip("AB", names, strict=True))


def read_names(tree: Any) -> dict[str, str]:
    """The names that a file records, none if it has none.

    Raises:
        ValueError: if they are not what `check_names` returns.
    """
    try:
        return check_names([tree["A"], tree["B"]]) if tree else {}
    except (UsageError, LookupError, TypeError) as error:
        raise ValueError(f"domain_names: {error}") from error


def swapped(names: Names) -> dict[str, str]:
    """The names if A and B change places."""
    return {"A": names["B"], "B": names["A"]} if names else {}


def domain_label(domain: str, names: Names) -> str:
    """A domain for people: its name, or its letter."""
    return names.get(domain, domain)


def direction_label(direction: str, names: Names) -> str:
    """A direction, AB or BA, for people: `summer to winter`, or `A to B`."""
    source, target = direction
    return f"{domain_label(source, names)} to {domain_label(target, names)}"


def picture_labels(direction: str, names: Names) -> dict[str, str]:
    """What people read beside the pictures of a direction, by their kind; empty without names."""
    if not names:
        return {}
    source, target = (names[domain] for domain in direction)
    translation = direction_label(direction, names)
    return {"input": source, "translation": translation, "reconstruction": f"back to {source}", "truth": target}


def read_direction(text: str, names: Names, directions: Iterable[str] = ("AB", "BA")) -> str:
    """The direction, AB or BA, that was asked for as such or by the names, as `summer-to-winter`. A text that is none
    of `directions` is returned as it is.
    """
    found = (way for way in directions if _key(text) == _key(direction_label(way, names)))
    return next(found, text) if names else text


def refuse_no_direction(text: str) -> None:
    """Refuse what cannot be a direction, whatever the names are, before a model or data set is opened.

    Raises:
        UsageError: if it is neither AB nor BA, nor like `summer-to-winter`.
    """
    if text not in ("AB", "BA") and "-to-" not in _key(text):
        raise UsageError(f"--direction {text}: give AB or BA, or names of domains, as summer-to-winter")


def chosen_direction(text: str, names: Names) -> Literal["AB", "BA"]:
    """The direction of an option, given as such or by names.

    Raises:
        UsageError: if it is none.
    """
    found = read_direction(text, names)
    if found == "AB" or found == "BA":
        return found
    if not names:
        raise UsageError(f"--direction {text}: give AB or BA; the domains have no names")
    first, second = (f"{names[a]}-to-{names[b]}" for a, b in ("AB", "BA"))
    raise UsageError(f"--direction {text}: give AB, BA, {first} or {second}")


def legend(names: Names) -> str:
    """Which letter is which domain, for output with figures such as kd/untrained_AB; empty without names."""
    return f"A is {names['A']}, B is {names['B']}" if names else ""


def refuse_exchanged(data: str, found: Names, of: str, wanted: Names, advice: str = PREPARE_AGAIN) -> str:
    """Refuse a data set whose domain A is named as the other's domain B, or B as A.

    Args:
        data: the data set, or a model, for the message.
        found: its names.
        of: what the others belong to, for the message.
        wanted: the names there.
        advice: what helps, for the message.

    Returns:
        A sentence for users if the names differ otherwise; empty if they do not, or one side has none.

    Raises:
        UsageError: if they are exchanged.
    """
    if not (found and wanted):
        return ""
    if domain := _exchanged(found, wanted):
        raise UsageError(
            f"{data}: domain {domain} is {found[domain]}, which is domain {_OTHER[domain]} of {of}: the domains are "
            f"exchanged; {advice}"
        )
    if all(_key(found[domain]) == _key(wanted[domain]) for domain in "AB"):
        return ""
    return f"{data} has other domains than {of}: {legend(found)}; there {legend(wanted)}"


def are_exchanged(names: Names, others: Names) -> bool:
    """Whether A of one is named as B of the other, or B as A, so that AB of one may be BA of the other."""
    return bool(_exchanged(names, others))


def _exchanged(names: Names, others: Names) -> str:
    """The domain of `names` that is called as the other one of `others`; empty if none is."""
    pairs = _OTHER.items() if names and others else ()
    return next((domain for domain, other in pairs if _key(names[domain]) == _key(others[other])), "")


def _key(name: str) -> str:
    """Equal for names that differ in case, spaces, dashes and underscores only."""
    return re.sub("[ _]", "-", name).lower()

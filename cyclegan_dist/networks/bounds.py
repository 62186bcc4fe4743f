"""Bounds of config values, as annotations: `Annotated[int, Ge(0)]`.

Pydantic checks them where it is installed, and `config.without_pydantic` elsewhere. The package annotated_types has the
same, but a machine with little more than torch does not have it.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Bound:
    """A bound of a number."""

    limit: float
    key: ClassVar[str]  # pydantic's name of it
    words: ClassVar[str]
    holds: ClassVar[Callable[[Any, float], bool]]

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {**handler(source), self.key: self.limit}


class Ge(Bound):
    """At least `limit`."""

    key, words, holds = "ge", "greater than or equal to", operator.ge


class Gt(Bound):
    """Greater than `limit`."""

    key, words, holds = "gt", "greater than", operator.gt


class Le(Bound):
    """At most `limit`."""

    key, words, holds = "le", "less than or equal to", operator.le


class Lt(Bound):
    """Less than `limit`."""

    key, words, holds = "lt", "less than", operator.lt

"""A second model that answers a share of the requests, while the first answers all others."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from cyclegan_dist.service.messages import Answerer, Refusal, ServedModel, Translation, TranslationRequest

HEADER = "X-Canary"  # of a request: always or never, instead of the share


@dataclass(frozen=True, kw_only=True)
class Canary:
    """The second model. Its failures are not shown to clients: the first model answers instead.

    Attributes:
        model: gives what it is now; None while there is none.
        answer: translates with it, in processes of its own; cancelled after `patience_s`.
        share: of the requests that it answers, 0 to 1.
        patience_s: seconds for its answer, which must leave the first model enough of the deadline.
    """

    model: Callable[[], ServedModel | None]
    answer: Answerer
    share: float
    patience_s: float

    def chosen(self, first: ServedModel, direction: str, wish: str) -> ServedModel | None:
        """The model that is to answer a request instead of `first`, if one is.

        Args:
            first: the model that answers all others.
            direction: of the request.
            wish: of the client: always, never, or anything else for a random choice.
        """
        model = self.model()
        if model is None or model.name == first.name or direction not in model.snapshot.directions:
            return None
        wanted = {"always": True, "never": False}.get(wish.lower())
        return model if (random.random() < self.share if wanted is None else wanted) else None

    async def attempt(self, request: TranslationRequest) -> Translation | None:
        """Its translation, or None if it refuses the request, fails, or takes longer than `patience_s`."""
        try:
            async with asyncio.timeout(self.patience_s):
                made = await self.answer(request)
        except Exception:  # whatever it is, and a timeout too: the first model answers
            return None
        return None if isinstance(made, Refusal) else made

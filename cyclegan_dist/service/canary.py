"""A second model that answers a share of the requests, while the first answers all others."""

import asyncio
import math
import random
import time
from collections.abc import Callable

from cyclegan_dist.data.domain_names import are_exchanged
from cyclegan_dist.service.messages import Answerer, Refusal, ServedModel, Translation, TranslationRequest

REST_S = 10.0
HEADER = "X-Canary"  # of a request: always or never, instead of the share


class Canary:
    """The second model. Its failures are not shown to clients: the first model answers instead.

    Args:
        model: gives what it is now; None while there is none.
        answer: translates with it, in processes of its own; cancelled after `patience_s`.
        share: of the requests that it answers, 0 to 1.
        patience_s: seconds for its answer, which must leave the first model enough of the deadline.
        rest_s: seconds without requests after a failure, so that only those already sent wait for it.
    """

    def __init__(
        self,
        *,
        model: Callable[[], ServedModel | None],
        answer: Answerer,
        share: float,
        patience_s: float,
        rest_s: float = REST_S,
    ):
        self.model, self.share = model, share
        self._answer, self._patience_s, self._rest_s = answer, patience_s, rest_s
        self._rests_until = -math.inf

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
        if are_exchanged(model.snapshot.domain_names, first.snapshot.domain_names):  # its AB is the other's BA
            return None
        if time.monotonic() < self._rests_until:
            return None
        wanted = {"always": True, "never": False}.get(wish.lower())
        return model if (random.random() < self.share if wanted is None else wanted) else None

    async def attempt(self, request: TranslationRequest) -> Translation | None:
        """Its translation, or None if it refuses the request, fails, or takes longer than it may."""
        try:
            async with asyncio.timeout(self._patience_s):
                made = await self._answer(request)
        except Exception:  # whatever it is, and a timeout too: the first model answers
            self._rests_until = time.monotonic() + self._rest_s
            return None
        return None if isinstance(made, Refusal) else made

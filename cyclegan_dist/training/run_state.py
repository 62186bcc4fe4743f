"""The state of a run that a checkpoint holds, so that training resumes bit for bit.

It does not hold the position in the data, augmentation, dropout and the learning rate's epoch, which are functions of
the step and the seed.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cyclegan_dist.checkpoint.restore import Restored
from cyclegan_dist.checkpoint.store import VERSIONS, CheckpointStore
from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.contract import Method
from cyclegan_dist.models.training_state import TrainingState
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.exchange import broadcast_weights
from cyclegan_dist.step.schedule import Schedule
from cyclegan_dist.step.update import Step
from cyclegan_dist.training.hooks.log import LogWindow
from cyclegan_dist.training.segments import Segment, parse_segments, plain_segments


class RunState:
    """Networks, optimizers, schedule and data digest, equal on all ranks; and of each rank the method's state and the
    sums for the next record of losses.

    Attributes:
        segments: extensions of the run.
        initialised_from: facts of the state that the run began with; empty if its weights were drawn.
    """

    def __init__(
        self,
        step: Step,
        schedule: Schedule,
        method: Method,
        data: str,
        world: World,
        window: LogWindow,
        segments: Sequence[Segment] = (),
    ):
        self.window = window
        self.step, self.schedule, self.method, self.data, self.world = step, schedule, method, data, world
        self.segments = tuple(segments)
        self.initialised_from: Mapping[str, Any] = {}

    def __call__(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The shared state, and this rank's state."""
        shared = {"step": self.step.state_dict(), "schedule": self.schedule.state_dict(), "data": self.data}
        shared["fast"] = self.step.fast
        shared["segments"], shared["initialised_from"] = plain_segments(self.segments), dict(self.initialised_from)
        return shared, {"method": self.method.rank_state(), "window": self.window.state_dict()}

    def begin(self, start: TrainingState) -> None:
        """Begin with another training's state, equal on all ranks. All ranks call it together.

        Raises:
            UsageError: if it does not fit this run's networks.
        """
        try:
            self.step.load_state_dict(start.into(self.step.state_dict()))
        except (KeyError, RuntimeError, ValueError) as error:
            raise UsageError(f"init_from does not fit this run: {textwrap.shorten(str(error), 300)}") from error
        if self.world.size > 1:
            broadcast_weights(self.method.networks.parameters(), self.world)
        self.initialised_from = start.facts

    def restore(self, store: CheckpointStore, message: Callable[[str], None]) -> int:
        """Load the newest valid checkpoint. Returns the steps done, 0 if there is none.

        Raises:
            UsageError: if it is from other data or other networks, or if there are checkpoints but none is valid.
        """
        restored = store.load_latest()
        if restored is None:
            return 0
        if restored.shared.get("data") != self.data:
            raise UsageError(
                f"the data set is not the one that the checkpoint in {store.storage} was trained on: "
                "give its --data.path, or start a run of another name"
            )
        if restored.versions != VERSIONS:
            message(f"the checkpoint was written by {restored.versions}, this is {VERSIONS}: bits may differ")
        elif (fast := restored.shared.get("fast", False)) != self.step.fast:
            was, is_now = ("on" if one else "off" for one in (fast, self.step.fast))
            message(f"optim.fast was {was} and is {is_now}: bits may differ")
        try:
            known = parse_segments(restored.shared.get("segments", ()))
            begins_segment = len(known) < len(self.segments)
            if restored.versions == VERSIONS and not begins_segment and not store.same_config(restored):
                message(f"the checkpoint of step {restored.step} was saved with another config: bits may differ")
            self._load(restored, begins_segment=begins_segment)
            self.segments = max(self.segments, known, key=len)  # the run folder's file may have been lost
            self.initialised_from = restored.shared.get("initialised_from", {})
        except (LookupError, TypeError, AttributeError, RuntimeError, ValueError) as error:
            reason = textwrap.shorten(str(error), 300)  # torch lists the keys of a whole network, which takes pages
            raise UsageError(
                f"the checkpoint of step {restored.step} is not of this run's networks: {reason}; "
                "start a run of another name"
            ) from error
        return restored.step

    def _load(self, restored: Restored, *, begins_segment: bool) -> None:
        step = restored.shared["step"]
        if begins_segment:  # its schedule starts anew, and it may be the first with an average
            own = self.step.state_dict()
            step = {**{key: own[key] for key in own if key == "ema"}, **step}
        else:
            self.schedule.load_state_dict(restored.shared["schedule"])
        self.step.load_state_dict(step)
        # With the same number of ranks only this rank's state was read. Before version 0.1 it was called history.
        states = [restored.ranks.get(rank, {}) for rank in range(restored.world_size)]
        if not begins_segment:  # means must not mix losses of two configs
            windows = [state.get("window", {}) for state in states]
            self.window.load([window for window in windows if window], restored.facts["seconds"])
        states = [state.get("method", state.get("history", {})) for state in states]
        self.method.load_rank_state(states, self.world.rank, self.world.size)

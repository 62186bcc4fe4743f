"""The state of a run: what a checkpoint holds so that training continues from it bit for bit.

The place in the data, augmentation, dropout and the learning rate's epoch are not in it: they follow from the step and
the seed.
"""

import textwrap
from collections.abc import Callable
from typing import Any

from cyclegan_dist.checkpoint.store import VERSIONS, CheckpointStore, Restored
from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.contract import Method
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.schedule import Schedule
from cyclegan_dist.step.update import Step


class RunState:
    """Networks, optimizers and schedule, equal on all ranks; what the method keeps per rank; the digest of the data."""

    def __init__(self, step: Step, schedule: Schedule, method: Method, data: str, world: World):
        self.step, self.schedule, self.method, self.data, self.world = step, schedule, method, data, world

    def __call__(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What is equal on all ranks, and what is this rank's."""
        shared = {"step": self.step.state_dict(), "schedule": self.schedule.state_dict(), "data": self.data}
        return shared, {"method": self.method.rank_state()}

    def restore(self, store: CheckpointStore, say: Callable[[str], None]) -> int:
        """Take the newest valid checkpoint. Returns the steps done, 0 if there is none.

        Raises:
            UsageError: if it is of other data or other networks, or none of several is valid.
        """
        restored = store.load_latest()
        if restored is None:
            return 0
        if restored.shared["data"] != self.data:
            raise UsageError(
                f"the data set is not the one that the checkpoint in {store.storage} was started with: "
                "give its --data.path, or start a run of another name"
            )
        if restored.versions != VERSIONS:
            say(f"the checkpoint is of {restored.versions}, this is {VERSIONS}: bits may differ")
        try:
            self._take(restored)
        except (KeyError, RuntimeError, ValueError) as error:  # torch lists what is missing and what is too much
            reason = textwrap.shorten(str(error), 300)  # of a whole network the list is pages long
            raise UsageError(
                f"the checkpoint of step {restored.step} is not of this run's networks: {reason}; "
                "start a run of another name"
            ) from error
        return restored.step

    def _take(self, restored: Restored) -> None:
        self.step.load_state_dict(restored.shared["step"])
        self.schedule.load_state_dict(restored.shared["schedule"])
        # Of as many ranks as before, this rank's own state alone was read. Before version 0.1 it was called history.
        states = [restored.ranks.get(rank, {}) for rank in range(restored.world_size)]
        states = [state.get("method", state.get("history", {})) for state in states]
        self.method.load_rank_state(states, self.world.rank, self.world.size)

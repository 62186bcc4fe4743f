"""Ray: a cluster, trainings on it, and sweeps of trainings. The only importers of Ray.

The training core knows nothing of it: ranks find each other through the process group that Ray joins, state goes
through our own checkpoint store, and what users see goes through the run's journal, so neither is lost with the
cluster.
"""

import os
import secrets

# Ray reads its settings when it is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
# A dead, silent or hanging rank is known within half a minute; Ray's own figures are 2 s, 10 and 1 min.
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
os.environ.setdefault("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", "30")
os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "30")
if not os.environ.get("RAY_ADDRESS"):
    # A cluster of our own, through whose job server nobody else on this machine may run code. A token of our own too:
    # Ray would write one that all may read into the home folder.
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

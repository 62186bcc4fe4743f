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
# A dead, silent or hanging rank is known within half a minute; Ray's own figures are 2 s, 10 min and 1 min. The last
# bounds the wait for places, not for processes to start: when it ends, Ray looks anew how many nodes there are.
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
os.environ.setdefault("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", "30")
os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "10")
# Before new ranks start, the old ones are asked to leave their group; a frozen one does not answer. Ray's is 30 s.
os.environ.setdefault("TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S", "5")
if not os.environ.get("RAY_ADDRESS"):
    # A cluster of our own, through whose agents nobody else on this machine may run code. A token of our own too:
    # Ray would write one that all may read into the home folder.
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # It has one node. Told that there are no others, Ray and gloo listen on 127.0.0.1 only; Ray takes an address of
    # 127.0.0.1 for a mistake otherwise, and listens on all.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # Ray starts a process for each core in advance; Train, Tune and Serve set an environment in theirs and take none.
    os.environ.setdefault("RAY_enable_worker_prestart", "0")
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")

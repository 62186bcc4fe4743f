"""Ray: clusters, and trainings, sweeps, translations and services on them. Only this package imports Ray.

The training core does not depend on it: ranks communicate through the process group, state is kept in our own
checkpoint store, and output for users in the run's journal, so neither is lost with the cluster.
"""

import os
import secrets

# Ray reads its settings when it is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
# A dead, silent or hanging rank is detected within half a minute; Ray's defaults are 2 s, 10 min and 1 min. The last
# one limits the wait for resources, not for processes to start: after it Ray counts the nodes again.
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
os.environ.setdefault("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", "30")
os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "10")
if not os.environ.get("RAY_ADDRESS"):
    # Without a token, other users of this machine could run code through the agents of the local cluster. It is
    # generated here, because Ray would write a world-readable one into the home folder.
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # The local cluster has one node. With these settings Ray and gloo listen on 127.0.0.1 only; without the first, Ray
    # replaces the address 127.0.0.1 and listens on all interfaces.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # Train, Tune and Serve set an environment in their processes, so they cannot use those that Ray starts in advance.
    os.environ.setdefault("RAY_enable_worker_prestart", "0")
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")

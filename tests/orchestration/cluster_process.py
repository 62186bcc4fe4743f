"""A `ray.cluster_utils.Cluster` in a process of its own, which does what lines of its standard input say: `add ADDRESS`,
`remove ADDRESS`, or `drain ADDRESS`, which says that the node will be taken away. It answers each with a line, and ends with its standard input.

In a test's own process Ray may have been loaded before, with other settings that it reads once.
"""

import subprocess
import sys
from pathlib import Path

from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}
# Not 127.0.0.1, which Ray takes for another name of the machine's own address.
HEAD = {**NODE, "num_cpus": 0, "node_ip_address": "127.0.0.2", "include_dashboard": False}
RAY = str(Path(sys.executable).with_name("ray"))
REASON = ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot", "--deadline-remaining-seconds=300"]
DRAIN = [RAY, "drain-node", *REASON]

cluster = Cluster(initialize_head=True, head_node_args={**HEAD, "temp_dir": sys.argv[1]})
nodes = {}
print(cluster.address, flush=True)
for line in sys.stdin:
    verb, address = line.split()
    if verb == "add":
        nodes[address] = cluster.add_node(node_ip_address=address, labels={"pool": "ranks"}, **NODE)
    elif verb == "drain":
        subprocess.run([*DRAIN, f"--address={cluster.address}", f"--node-id={nodes[address].node_id}"], check=True)
    else:
        cluster.remove_node(nodes.pop(address), allow_graceful=False)
    print(verb, address, flush=True)
cluster.shutdown()

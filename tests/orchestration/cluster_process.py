"""A `ray.cluster_utils.Cluster` in a process of its own, which does what lines of its standard input say: `add ADDRESS`
or `remove ADDRESS`. It answers each with a line, and ends with its standard input.

In a test's own process Ray may have been loaded before, with other settings that it reads once.
"""

import sys

from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}
# Not 127.0.0.1, which Ray takes for another name of the machine's own address.
HEAD = {**NODE, "num_cpus": 0, "node_ip_address": "127.0.0.2", "include_dashboard": False}

cluster = Cluster(initialize_head=True, head_node_args={**HEAD, "temp_dir": sys.argv[1]})
nodes = {}
print(cluster.address, flush=True)
for line in sys.stdin:
    verb, address = line.split()
    if verb == "add":
        nodes[address] = cluster.add_node(node_ip_address=address, **NODE)
    else:
        cluster.remove_node(nodes.pop(address), allow_graceful=False)
    print(verb, address, flush=True)
cluster.shutdown()

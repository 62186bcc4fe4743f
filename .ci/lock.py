"""Turn a lock that pip has written (PEP 751) into `name==version --hash=...` lines, which name no index.

python .ci/lock.py PYLOCK_TOML > .ci/hashes.txt
"""

import sys
import tomllib
from pathlib import Path

for package in tomllib.loads(Path(sys.argv[1]).read_text())["packages"]:
    files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
    hashes = sorted(f"--hash=sha256:{file['hashes']['sha256']}" for file in files)
    print(" \\\n    ".join([f"{package['name']}=={package['version']}", *hashes]))

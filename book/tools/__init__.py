"""What executes, checks and builds the book. Each module is a command: ``python -m book.tools.NAME``."""

import os
import sys
from pathlib import Path

# This process, and the kernels and commands that it starts, may import torchvision whatever its wheel was built for.
_SITE = str(Path(__file__).parent / "site")
if _SITE not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_SITE, os.environ.get("PYTHONPATH")]))
    sys.path.append(_SITE)
    import torchvision_operators

    torchvision_operators.install()

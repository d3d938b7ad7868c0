"""The tests of this folder import what their child processes import, too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

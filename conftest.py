"""Every test runs with the graph verifier on, and on the NumPy engine unless it names another."""

import os

os.environ.setdefault("MONOGRAPH_ENGINE", "numpy")
os.environ["MONOGRAPH_VERIFY"] = "1"

"""Core's tests run on the NumPy engine unless they name another, with the verifier on."""

import os

os.environ.setdefault("MONOGRAPH_ENGINE", "numpy")
os.environ["MONOGRAPH_VERIFY"] = "1"

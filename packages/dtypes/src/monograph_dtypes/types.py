"""The element types themselves, stored as ml_dtypes stores them.

16-bit floats compute (in float32, rounded at the end). 8-bit floats are stored, moved and converted;
arithmetic with one is an error that says to convert. Rounding is to nearest even. Too large becomes
infinite in float8_e5m2 and NaN in the others, which have no infinity; no type saturates: clip first.
"""

import ml_dtypes
from monograph.dtypes import DType

bfloat16 = DType("bfloat16", "float", ml_dtypes.bfloat16, compute="float32")
float16 = DType("float16", "float", "float16", compute="float32")


def _stored(name: str) -> DType:
    return DType(name, "float8", getattr(ml_dtypes, name))


float8_e4m3fn = _stored("float8_e4m3fn")
float8_e5m2 = _stored("float8_e5m2")
float8_e4m3fnuz = _stored("float8_e4m3fnuz")
float8_e5m2fnuz = _stored("float8_e5m2fnuz")
float8_e4m3b11fnuz = _stored("float8_e4m3b11fnuz")

"""The element types themselves, stored as ml_dtypes stores them and computed in float32."""

import ml_dtypes
from monograph.dtypes import DType

bfloat16 = DType("bfloat16", "float", ml_dtypes.bfloat16, compute="float32")
float16 = DType("float16", "float", "float16", compute="float32")

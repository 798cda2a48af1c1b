/* x * by */
#include "monograph_op.h"
MG_OP(scaled) {
  float by = mg_float(call, "by");
  for (int64_t i = 0; i < call->out[0].size; i++)
    MG_OUT(0, float)[i] = MG_IN(0, float)[i] * by;
  return 0;
}

/* Message passing on a CPU: what `ops.py` says, row by row, on several threads.

   A row is computed by one thread in the order of its edges, so results do not depend on how many there
   are. Ids out of range are skipped: nothing is read outside the arrays, whatever an index holds.  */
#define _GNU_SOURCE /* sched.h: which processors are ours */
#include "monograph_op.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif

enum { X, W }; /* operands; those of an index come last, in this order */
enum { SENDERS, RECEIVERS, OFFSETS, TARGETS, ORDER, SENDER_OFFSETS, INDEX };

static const int32_t *index_part(const mg_call *call, int part) {
  return MG_IN(call->n_in - INDEX + part, int32_t);
}

static int64_t length(const mg_call *call, int part) {
  return call->in[call->n_in - INDEX + part].shape[0];
}

static int64_t after(const mg_array *a, int axis) { /* elements per index of the axes before */
  int64_t n = 1;
  for (int i = axis; i < a->ndim; i++) n *= a->shape[i];
  return n;
}

/* ---- threads */

static int threads(void) {
  const char *said = getenv("OMP_NUM_THREADS");
  int n = said ? atoi(said) : 0;
#ifdef __linux__
  cpu_set_t set;
  if (n <= 0 && !sched_getaffinity(0, sizeof set, &set)) n = CPU_COUNT(&set);
#endif
  if (n <= 0) n = (int)sysconf(_SC_NPROCESSORS_ONLN);
  return n < 1 ? 1 : n > 64 ? 64 : n;
}

typedef void (*body)(const void *job, int64_t from, int64_t to);
typedef struct part {
  body run;
  const void *job;
  int64_t from, to;
} part;

static void *run_part(void *p) {
  part *q = p;
  q->run(q->job, q->from, q->to);
  return NULL;
}

/* Elements that are worth a thread: some 200 us; on a busy machine another may be long in coming. */
#define WORTH 500000

/* run(job, from, to) over 0 .. n; rows are cut where `offsets`, if any, has equal shares of edges. */
static void spread(body run, const void *job, int64_t n, int64_t work, const int32_t *offsets) {
  int count = work < 2 * WORTH ? 1 : threads();
  if (count > work / WORTH) count = (int)(work / WORTH);
  pthread_t started[64];
  part parts[64];
  int64_t from = 0;
  int live = 0;
  for (int t = 0; t < count - 1; t++) {
    int64_t low = from, high = n, share = offsets ? (int64_t)offsets[n] * (t + 1) / count : 0;
    if (!offsets) low = high = n * (t + 1) / count;
    while (low < high) {
      int64_t middle = (low + high) / 2;
      if (offsets[middle] < share) low = middle + 1;
      else high = middle;
    }
    parts[live] = (part){run, job, from, low};
    if (pthread_create(&started[live], NULL, run_part, &parts[live])) run(job, from, low);
    else live++;
    from = low;
  }
  run(job, from, n);
  for (int t = 0; t < live; t++) pthread_join(started[t], NULL);
}

/* exp(x) of x <= 0 to an ulp or two, without a call, so that it is done for many at once: 2^n times the
   series of what is left, which is at most half of log 2. */
static inline float exp_below(float x) {
  const float n = rintf(x * 1.44269504f);
  float r = fmaf(n, -0.693359375f, x); /* log 2 in two parts, the first without rounding */
  r = fmaf(n, 2.12194440e-4f, r);
  float s = 1.f / 5040;
  s = fmaf(s, r, 1.f / 720), s = fmaf(s, r, 1.f / 120), s = fmaf(s, r, 1.f / 24);
  s = fmaf(s, r, 1.f / 6), s = fmaf(s, r, 0.5f), s = fmaf(s, r, 1.f), s = fmaf(s, r, 1.f);
  const float safe = n < -126 ? -126 : n;
  union { int32_t bits; float scale; } power = {((int32_t)safe + 127) << 23};
  return x < -87.f ? 0 : s * power.scale;
}

#define REAL float
#define EXP exp_below
#define NAME(x) x##_f32
#include "rows.h"
#undef REAL
#undef EXP
#undef NAME

#define REAL double
#define EXP exp
#define NAME(x) x##_f64
#include "rows.h"

#define KERNEL(name)                                           \
  MG_OP(mg_gnn_##name) {                                       \
    if (call->in[0].dtype == MG_FLOAT64) name##_f64(call);     \
    else name##_f32(call);                                     \
    return 0;                                                  \
  }

KERNEL(neighbor_sum)
KERNEL(edge_dot)
KERNEL(edge_take)
KERNEL(edge_sum)
KERNEL(edge_max)
KERNEL(edge_softmax)

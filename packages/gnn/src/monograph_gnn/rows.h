/* The kernels for one type of number: `REAL`, with `EXP`; `NAME` makes names of it. See kernels.c. */

typedef struct NAME(job) {
  const REAL *x, *w;
  REAL *y;
  const int32_t *columns; /* where each edge of a row reads */
  const int32_t *edges;   /* which edge that is; NULL where edges stand in the order of rows */
  const int32_t *offsets, *rows;
  int64_t edge_count, column_count, row_count;
  int64_t heads, width;
  int64_t step; /* of weights from edge to edge: 0 where one is for all */
} NAME(job);

static NAME(job) NAME(described)(const mg_call *call, int transpose) {
  NAME(job) j = {0};
  j.columns = index_part(call, transpose ? TARGETS : SENDERS);
  j.edges = transpose ? index_part(call, ORDER) : NULL;
  j.offsets = index_part(call, transpose ? SENDER_OFFSETS : OFFSETS);
  j.rows = index_part(call, transpose ? SENDERS : RECEIVERS);
  j.edge_count = length(call, SENDERS);
  j.row_count = length(call, transpose ? SENDER_OFFSETS : OFFSETS) - 1;
  j.column_count = length(call, transpose ? OFFSETS : SENDER_OFFSETS) - 1;
  j.y = MG_OUT(0, REAL);
  return j;
}

/* The edges k of row i, whatever the offsets hold. */
#define EACH_EDGE(j, i, k)                                                                       \
  for (int64_t k = j->offsets[i] < 0 ? 0 : j->offsets[i],                                        \
               k##_end = j->offsets[i + 1] > j->edge_count ? j->edge_count : j->offsets[i + 1];  \
       k < k##_end; k++)
#define WITHIN(i, n) ((uint64_t)(int64_t)(i) < (uint64_t)(n))

/* ---- y[i] = sum of w[e] x[column] */

typedef REAL NAME(eight) __attribute__((vector_size(8 * sizeof(REAL)), aligned(sizeof(REAL))));

/* A part of row i: `count` times eight columns from f on, of head h, or with `turn` of a head each. The sums
   stay in registers where sizes are known: this is inlined. */
static inline __attribute__((always_inline)) void NAME(eights)(
    const NAME(job) *j, int64_t i, int64_t h, int64_t f, int count, int turn) {
  const int64_t row = j->heads * j->width, first = h * j->width + f;
  NAME(eight) sums[8] = {{0}};
  EACH_EDGE(j, i, k) {
    int64_t c = j->columns[k], e = j->edges ? j->edges[k] : k;
    if (!WITHIN(c, j->column_count) || !WITHIN(e, j->edge_count)) continue;
    if (k + 8 < j->edge_count && WITHIN(j->columns[k + 8], j->column_count)) {
      const char *ahead = (const char *)(j->x + j->columns[k + 8] * row + first);
      for (int b = 0; b < 8 * count * (int)sizeof(REAL); b += 64) __builtin_prefetch(ahead + b);
    }
    const NAME(eight) *x = (const NAME(eight) *)(j->x + c * row + first);
    const REAL *w = j->w + e * j->step + h;
    for (int g = 0; g < count; g++) sums[g] += w[g * turn] * x[g];
  }
  NAME(eight) *y = (NAME(eight) *)(j->y + i * row + first);
  for (int g = 0; g < count; g++) y[g] = sums[g];
}

/* The same for `width` columns, fewer than eight. */
static inline void NAME(few)(const NAME(job) *j, int64_t i, int64_t h, int64_t f, int width) {
  const int64_t row = j->heads * j->width, first = h * j->width + f;
  REAL sums[8] = {0};
  EACH_EDGE(j, i, k) {
    int64_t c = j->columns[k], e = j->edges ? j->edges[k] : k;
    if (!WITHIN(c, j->column_count) || !WITHIN(e, j->edge_count)) continue;
    const REAL *x = j->x + c * row + first, by = j->w[e * j->step + h];
    for (int l = 0; l < width; l++) sums[l] += by * x[l];
  }
  for (int l = 0; l < width; l++) j->y[i * row + first + l] = sums[l];
}

static void NAME(neighbor_sum_rows)(const void *p, int64_t from, int64_t to) {
  const NAME(job) *j = p;
  const int64_t heads = j->heads, width = j->width;
  for (int64_t i = from; i < to; i++) {
    int64_t h = 0;
    if (width == 8)
      for (; h + 8 <= heads; h += 8) NAME(eights)(j, i, h, 0, 8, 1);
    for (; h < heads; h++) {
      int64_t f = 0;
      for (; f + 64 <= width; f += 64) NAME(eights)(j, i, h, f, 8, 0);
      for (; f + 16 <= width; f += 16) NAME(eights)(j, i, h, f, 2, 0);
      for (; f + 8 <= width; f += 8) NAME(eights)(j, i, h, f, 1, 0);
      if (f < width) NAME(few)(j, i, h, f, (int)(width - f));
    }
  }
}

static void NAME(neighbor_sum)(const mg_call *call) {
  NAME(job) j = NAME(described)(call, (int)mg_int(call, "transpose"));
  j.x = MG_IN(X, REAL), j.w = MG_IN(W, REAL);
  j.heads = call->in[X].shape[1], j.width = call->in[X].shape[2];
  j.step = call->in[W].shape[0] == 1 ? 0 : j.heads;
  int64_t work = (j.edge_count + j.row_count) * j.heads * j.width;
  spread(NAME(neighbor_sum_rows), &j, j.row_count, work, j.offsets);
}

/* ---- y[e] = x[receiver] . w[sender], per head */

static void NAME(edge_dot_rows)(const void *p, int64_t from, int64_t to) {
  const NAME(job) *j = p;
  const int64_t heads = j->heads, width = j->width, row = heads * width;
  for (int64_t e = from; e < to; e++) {
    int64_t r = j->rows[e], s = j->columns[e];
    int real = WITHIN(r, j->row_count) && WITHIN(s, j->column_count);
    for (int64_t h = 0; h < heads; h++) {
      NAME(eight) sums = {0};
      REAL sum = 0;
      if (real) {
        const REAL *a = j->x + r * row + h * width, *b = j->w + s * row + h * width;
        int64_t f = 0;
        for (; f + 8 <= width; f += 8)
          sums += *(const NAME(eight) *)(a + f) * *(const NAME(eight) *)(b + f);
        for (int half = 4; half; half /= 2)
          for (int l = 0; l < half; l++) sums[l] += sums[l + half];
        sum = sums[0];
        for (; f < width; f++) sum += a[f] * b[f];
      }
      j->y[e * heads + h] = sum;
    }
  }
}

static void NAME(edge_dot)(const mg_call *call) {
  NAME(job) j = NAME(described)(call, 0);
  j.x = MG_IN(X, REAL), j.w = MG_IN(W, REAL);
  j.heads = call->in[X].shape[1], j.width = call->in[X].shape[2];
  int64_t work = j.edge_count * j.heads * j.width;
  spread(NAME(edge_dot_rows), &j, j.edge_count, work, NULL);
}

/* ---- y[e] = x[receiver], or of the sender */

static void NAME(edge_take_rows)(const void *p, int64_t from, int64_t to) {
  const NAME(job) *j = p;
  const int64_t width = j->width;
  for (int64_t e = from; e < to; e++) {
    int real = WITHIN(j->rows[e], j->row_count);
    if (real) memcpy(j->y + e * width, j->x + j->rows[e] * width, (size_t)width * sizeof(REAL));
    else memset(j->y + e * width, 0, (size_t)width * sizeof(REAL));
  }
}

static void NAME(edge_take)(const mg_call *call) {
  NAME(job) j = NAME(described)(call, (int)mg_int(call, "transpose"));
  j.x = MG_IN(X, REAL), j.width = after(&call->in[X], 1);
  spread(NAME(edge_take_rows), &j, j.edge_count, j.edge_count * j.width, NULL);
}

/* ---- y[i] = sum, or the largest, of x[e] */

static void NAME(edge_sum_rows)(const void *p, int64_t from, int64_t to) {
  const NAME(job) *j = p;
  const int64_t width = j->width;
  for (int64_t i = from; i < to; i++) {
    REAL *restrict y = j->y + i * width;
    memset(y, 0, (size_t)width * sizeof(REAL));
    EACH_EDGE(j, i, k) {
      int64_t e = j->edges ? j->edges[k] : k;
      if (!WITHIN(e, j->edge_count)) continue;
      const REAL *restrict x = j->x + e * width;
      for (int64_t f = 0; f < width; f++) y[f] += x[f];
    }
  }
}

static void NAME(edge_sum)(const mg_call *call) {
  NAME(job) j = NAME(described)(call, (int)mg_int(call, "transpose"));
  j.x = MG_IN(X, REAL), j.width = after(&call->in[X], 1);
  spread(NAME(edge_sum_rows), &j, j.row_count, (j.edge_count + j.row_count) * j.width, j.offsets);
}

static void NAME(edge_max_rows)(const void *p, int64_t from, int64_t to) {
  const NAME(job) *j = p;
  const int64_t width = j->width;
  for (int64_t i = from; i < to; i++) {
    REAL *restrict y = j->y + i * width;
    int first = 1;
    EACH_EDGE(j, i, k) {
      const REAL *restrict x = j->x + k * width;
      if (first) memcpy(y, x, (size_t)width * sizeof(REAL));
      else /* NaN wins */
        for (int64_t f = 0; f < width; f++) y[f] = x[f] > y[f] || x[f] != x[f] ? x[f] : y[f];
      first = 0;
    }
    if (first) memset(y, 0, (size_t)width * sizeof(REAL));
  }
}

static void NAME(edge_max)(const mg_call *call) {
  NAME(job) j = NAME(described)(call, 0);
  j.x = MG_IN(X, REAL), j.width = after(&call->in[X], 1);
  spread(NAME(edge_max_rows), &j, j.row_count, (j.edge_count + j.row_count) * j.width, j.offsets);
}

/* ---- softmax over the edges of each row */

/* y = x less the largest of its row; `n` columns from h on. Inlined with a known n. */
static inline __attribute__((always_inline)) void NAME(shift)(
    const NAME(job) *j, int64_t i, int64_t h, int n) {
  REAL most[8];
  for (int l = 0; l < n; l++) most[l] = -INFINITY;
  EACH_EDGE(j, i, k) {
    const REAL *x = j->x + k * j->width + h;
    for (int l = 0; l < n; l++) most[l] = x[l] > most[l] || x[l] != x[l] ? x[l] : most[l];
  }
  for (int l = 0; l < n; l++) most[l] = most[l] == -INFINITY ? 0 : most[l];
  EACH_EDGE(j, i, k) {
    const REAL *restrict x = j->x + k * j->width + h;
    REAL *restrict y = j->y + k * j->width + h;
    for (int l = 0; l < n; l++) y[l] = x[l] - most[l];
  }
}

/* y divided by the sum of its row. */
static inline __attribute__((always_inline)) void NAME(share)(
    const NAME(job) *j, int64_t i, int64_t h, int n) {
  REAL sums[8] = {0};
  EACH_EDGE(j, i, k)
    for (int l = 0; l < n; l++) sums[l] += j->y[k * j->width + h + l];
  for (int l = 0; l < n; l++) sums[l] = sums[l] == 0 ? 0 : 1 / sums[l];
  EACH_EDGE(j, i, k)
    for (int l = 0; l < n; l++) j->y[k * j->width + h + l] *= sums[l];
}

/* step(j, i, ...) over all columns of a row. */
#define BY_COLUMNS(step, j, i)                                     \
  do {                                                             \
    int64_t h = 0;                                                 \
    for (; h + 8 <= j->width; h += 8) NAME(step)(j, i, h, 8);      \
    for (; h < j->width; h++) NAME(step)(j, i, h, 1);              \
  } while (0)

static void NAME(exps)(REAL *restrict y, int64_t n) {
  for (int64_t q = 0; q < n; q++) y[q] = EXP(y[q]);
}

static void NAME(edge_softmax_rows)(const void *p, int64_t from, int64_t to) {
  const NAME(job) *j = p;
  for (int64_t i = from; i < to; i += 64) { /* so that exp has many at once, and they stay in cache */
    const int64_t end = i + 64 < to ? i + 64 : to;
    for (int64_t r = i; r < end; r++) BY_COLUMNS(shift, j, r);
    const int64_t first = j->offsets[i] < 0 ? 0 : j->offsets[i];
    const int64_t last = j->offsets[end] < j->edge_count ? j->offsets[end] : j->edge_count;
    NAME(exps)(j->y + first * j->width, (last - first) * j->width);
    for (int64_t r = i; r < end; r++) BY_COLUMNS(share, j, r);
  }
}
#undef BY_COLUMNS

static void NAME(edge_softmax)(const mg_call *call) {
  NAME(job) j = NAME(described)(call, 0);
  j.x = MG_IN(X, REAL), j.width = after(&call->in[X], 1);
  int64_t real = j.offsets[j.row_count] < 0 ? 0 : j.offsets[j.row_count];
  if (real < j.edge_count)
    memset(j.y + real * j.width, 0, (size_t)((j.edge_count - real) * j.width) * sizeof(REAL));
  spread(NAME(edge_softmax_rows), &j, j.row_count, 8 * j.edge_count * j.width, j.offsets);
}

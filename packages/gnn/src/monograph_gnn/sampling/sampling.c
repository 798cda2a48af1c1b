/* What `plain.py` does in NumPy, the same to the last bit, five to ten times faster.

   Nothing is read outside of arrays, whatever a store holds: offsets and ids come from files. */
#include "monograph_op.h"

#include <stdlib.h>

typedef struct graph { /* a `GraphStore` */
  const int64_t *offsets;
  const int32_t *senders;
  const int64_t *cumulative; /* NULL: every edge weighs the same */
  int64_t receivers, sender_count, edges;
} graph;

/* ---- random numbers, see draws.py */

static inline uint64_t mixed(uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

static inline uint64_t draw(uint64_t state, uint64_t place) {
  return mixed(state + (place + 1) * 0x9E3779B97F4A7C15u);
}

static inline int64_t below(uint64_t bits, int64_t n) {
  return (int64_t)((unsigned __int128)bits * (uint64_t)n >> 64);
}

static inline double uniform(uint64_t bits) { return (double)(bits >> 11) * 0x1p-53; }

/* ---- the edges that one node takes */

/* Offsets of a node's edges; 0 if they are damaged. */
static inline int row(const graph *g, int64_t node, int64_t *low, int64_t *degree) {
  if (node < 0 || node >= g->receivers) return 0;
  int64_t high = g->offsets[node + 1];
  *low = g->offsets[node], *degree = high - *low;
  return *low >= 0 && *degree >= 0 && high <= g->edges;
}

/* `k` different ones of `n` (Floyd 1987). */
static void some(int64_t n, int64_t k, uint64_t state, int64_t *chosen) {
  for (int64_t j = 0; j < k; j++) {
    int64_t last = n - k + j, t = below(draw(state, (uint64_t)j), last + 1), taken = 0;
    for (int64_t i = 0; i < j; i++) taken |= chosen[i] == t;
    chosen[j] = taken ? last : t;
  }
}

/* The edge in whose share of the sums `t` falls. */
static int64_t at_weight(const int64_t *sums, int64_t n, int64_t t) {
  int64_t low = 0, high = n - 1;
  while (low < high) {
    int64_t middle = (low + high) / 2;
    if (sums[middle] > t) high = middle;
    else low = middle + 1;
  }
  return low;
}

/* Up to `k` by weight, one after the other, those that were drawn left out; returns how many. */
static int64_t weighted(const int64_t *sums, int64_t n, int64_t k, uint64_t state, int64_t *chosen) {
  int64_t left = sums[n - 1], found = 0;
  for (; found < k && left > 0; found++) {
    int64_t t = below(draw(state, (uint64_t)found), left), i = 0;
    for (; i < found; i++) { /* `chosen` ascends */
      int64_t e = chosen[i], before = e ? sums[e - 1] : 0;
      if (t < before) break;
      t += sums[e] - before;
    }
    int64_t e = at_weight(sums, n, t);
    for (i = found; i > 0 && chosen[i - 1] > e; i--) chosen[i] = chosen[i - 1];
    chosen[i] = e;
    left -= sums[e] - (e ? sums[e - 1] : 0);
  }
  return found;
}

/* Edges of a node, as places in its row; returns how many. */
static int64_t choose(
    const graph *g, int64_t low, int64_t degree, int64_t k, int replace, uint64_t state, int64_t *chosen) {
  const int64_t *sums = g->cumulative && degree ? g->cumulative + low : NULL;
  if (k < 0 || (!sums && !replace && degree <= k)) {
    for (int64_t i = 0; i < degree; i++) chosen[i] = i;
    return degree;
  }
  if (!degree || (sums && sums[degree - 1] <= 0)) return 0;
  if (!replace) {
    if (sums) return weighted(sums, degree, k, state, chosen);
    some(degree, k, state, chosen);
    return k;
  }
  for (int64_t j = 0; j < k; j++) {
    int64_t t = below(draw(state, (uint64_t)j), sums ? sums[degree - 1] : degree);
    chosen[j] = sums ? at_weight(sums, degree, t) : t;
  }
  return k;
}

/* ---- one hop */

#define GROUP 32 /* nodes whose memory is asked for before it is needed */

/* Take up to `k` edges into each node of the frontier; number the senders that are new.

   nodes: those of the sample by number, of which there are *count; table: [senders] the number of each
   that is one of them, anything for others. Per edge its sender's number and its place in the store, per frontier node its
   edges. Returns the edges, of which there is room for so many; or, where the store is damaged, -1 or -2
   and in *bad the place in its offsets or its senders. */
MG_EXPORT int64_t mg_gnn_expand(
    const graph *g, const int32_t *frontier, int64_t n, int64_t k, int64_t replace, uint64_t key,
    int32_t *table, int32_t *nodes, int64_t *count, int32_t *senders, int64_t *places, int32_t *edges,
    int64_t room, int64_t *bad) {
  int64_t total = 0;
  uint32_t numbered = (uint32_t)*count;
  for (int64_t from = 0; from < n; from += GROUP) {
    int64_t to = from + GROUP < n ? from + GROUP : n, start = total;
    for (int64_t i = to; i < to + GROUP && i < n; i++) __builtin_prefetch(g->offsets + frontier[i]);
    for (int64_t i = from; i < to; i++) {
      int64_t low, degree;
      if (!row(g, frontier[i], &low, &degree)) return *bad = frontier[i], -1;
      if ((k < 0 ? degree : k) > room - total && degree > room - total) return *bad = frontier[i], -1;
      int64_t found =
          choose(g, low, degree, k, (int)replace, draw(key, (uint64_t)frontier[i]), places + total);
      for (int64_t j = total; j < total + found; j++)
        __builtin_prefetch(g->senders + (places[j] += low));
      edges[i] = (int32_t)found;
      total += found;
    }
    for (int64_t j = start; j < total; j++) {
      int64_t s = senders[j] = g->senders[places[j]];
      if (s < 0 || s >= g->sender_count) return *bad = places[j], -2;
      __builtin_prefetch(table + s);
    }
    for (int64_t j = start; j < total; j++) {
      int32_t s = senders[j], number = table[s];
      if ((uint32_t)number >= numbered || nodes[number] != s)
        nodes[numbered] = s, table[s] = number = (int32_t)numbered++;
      senders[j] = number;
    }
  }
  *count = numbered;
  return total;
}

/* ---- the arrays of an `EdgeIndex`, see index.py */

/* Edges by receiver, as `rows` counts those of the first `row_count` nodes; padding to fill the arrays. */
MG_EXPORT void mg_gnn_index(
    const int32_t *from, const int32_t *rows, int64_t row_count, int64_t real, int64_t edges,
    int64_t sender_count, int64_t receiver_count, int32_t *senders, int32_t *receivers,
    int32_t *offsets, int32_t *targets, int32_t *order, int32_t *sender_offsets) {
  int64_t at = 0;
  memcpy(senders, from, (size_t)real * sizeof *from);
  memset(sender_offsets, 0, (size_t)(sender_count + 1) * sizeof *sender_offsets);
  for (int64_t e = 0; e < real; e++) sender_offsets[from[e]]++;
  int32_t sum = 0;
  for (int64_t i = 0; i <= sender_count; i++) {
    int32_t many = sender_offsets[i];
    sender_offsets[i] = sum, sum += many;
  }
  for (int64_t i = 0; i < receiver_count; i++) {
    offsets[i] = (int32_t)at;
    if (i < row_count)
      for (int64_t end = at + rows[i]; at < end; at++) {
        int32_t place = sender_offsets[from[at]]++;
        receivers[at] = targets[place] = (int32_t)i, order[place] = (int32_t)at;
      }
  }
  offsets[receiver_count] = (int32_t)at;
  /* each offset has become the next one */
  memmove(sender_offsets + 1, sender_offsets, (size_t)sender_count * sizeof *sender_offsets);
  sender_offsets[0] = 0;
  for (int64_t e = real; e < edges; e++) {
    senders[e] = (int32_t)sender_count, order[e] = (int32_t)(edges - 1);
    receivers[e] = targets[e] = (int32_t)receiver_count;
  }
}

/* ---- random walks */

static int is_edge(const graph *g, int64_t sender, int64_t receiver) {
  int64_t low, high;
  if (!row(g, receiver, &low, &high)) return 0;
  int64_t end = high += low;
  while (low < high) {
    int64_t middle = (low + high) / 2;
    if (g->senders[middle] < sender) low = middle + 1;
    else high = middle;
  }
  return low < end && g->senders[low] == sender;
}

/* Walks of `length` steps, each from a node to one that sends to it; -1 behind a dead end.

   back, apart: how much likelier than to a common neighbour a step is that returns, or leads away
   (node2vec's 1/p and 1/q). Returns 0, or -1 and in *bad where the store is damaged. */
MG_EXPORT int64_t mg_gnn_walk(
    const graph *g, const int32_t *starts, int64_t n, int64_t length, double back, double apart,
    uint64_t key, int32_t *out, int64_t *bad) {
  double most = back > apart ? back : apart;
  most = most > 1 ? most : 1;
  int plain = back == 1 && apart == 1;
  for (int64_t w = 0; w < n; w++) {
    int32_t *walk = out + w * (length + 1);
    uint64_t state = draw(key, (uint64_t)w);
    walk[0] = starts[w];
    for (int64_t step = 0; step < length; step++) {
      int64_t low, degree, next = -1;
      if (walk[step] >= 0) {
        if (!row(g, walk[step], &low, &degree)) return *bad = walk[step], -1;
        uint64_t here = draw(state, (uint64_t)step);
        for (uint64_t tries = 0; degree && next < 0; tries++) {
          int64_t place = low + below(draw(here, 2 * tries), degree), to = g->senders[place];
          if (to < 0 || to >= g->receivers) return *bad = place, -2;
          double weight = most;
          if (step && !plain)
            weight = to == walk[step - 1] ? back : is_edge(g, to, walk[step - 1]) ? 1 : apart;
          if (plain || !step || uniform(draw(here, 2 * tries + 1)) * most < weight) next = to;
        }
      }
      walk[step + 1] = (int32_t)next;
    }
  }
  return 0;
}

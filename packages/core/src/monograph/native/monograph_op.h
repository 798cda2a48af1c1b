/* An operation in C or C++: what mg.custom_op_from_c calls.

     #include "monograph_op.h"

     MG_OP(scaled) {
       const float *x = MG_IN(0, float);
       float *y = MG_OUT(0, float);
       for (int64_t i = 0; i < call->out[0].size; i++) y[i] = x[i] * (float)mg_float(call, "by");
       return 0;
     }

   Arrays are row-major, in one piece, aligned to their element; inputs may not be written to. The
   function returns 0, or else the operation has failed: `return mg_fail(call, "row %d is empty", i);`.
   It may be called from several threads at once.  */
#ifndef MONOGRAPH_OP_H
#define MONOGRAPH_OP_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#ifdef __cpp_exceptions
#include <exception>
#endif

#define MG_ABI 1

enum mg_dtype {
  MG_BOOL = 1, MG_INT8, MG_INT16, MG_INT32, MG_INT64, MG_UINT8, MG_UINT16, MG_UINT32, MG_UINT64,
  MG_FLOAT16, MG_BFLOAT16, MG_FLOAT32, MG_FLOAT64, MG_COMPLEX64, MG_COMPLEX128,
  MG_FLOAT8_E4M3FN, MG_FLOAT8_E5M2, MG_FLOAT8_E4M3FNUZ, MG_FLOAT8_E5M2FNUZ, MG_FLOAT8_E4M3B11FNUZ
};

enum mg_kind { MG_INTS = 1, MG_FLOATS, MG_TEXT };

typedef struct mg_array {
  void *data;
  const int64_t *shape; /* ndim axis lengths */
  int64_t size;         /* number of elements */
  int32_t ndim;
  int32_t dtype; /* enum mg_dtype */
} mg_array;

typedef struct mg_attr {
  const char *name;
  int32_t kind;       /* enum mg_kind; a bool is an int */
  int32_t count;      /* how many; of a text, its bytes */
  const void *values; /* int64_t, double or char */
} mg_attr;

typedef struct mg_call {
  int32_t abi; /* MG_ABI of the caller */
  int32_t n_in, n_out, n_attrs;
  const mg_array *in;
  mg_array *out;
  const mg_attr *attrs; /* the operation's attributes, in the order of its shape rule */
  char *message;        /* empty; what is written here is an error, as by mg_fail */
  int64_t message_size;
} mg_call;

#ifdef __cplusplus
#define MG_EXTERN extern "C"
#else
#define MG_EXTERN extern
#endif
#ifdef _WIN32
#define MG_EXPORT MG_EXTERN __declspec(dllexport)
#else
#define MG_EXPORT MG_EXTERN __attribute__((visibility("default")))
#endif

#ifdef __cpp_exceptions
/* No exception may leave the function: one that would is the operation's error. */
#define MG_OP(name)                                              \
  static int name##_body(const mg_call *call);                   \
  MG_EXPORT int name(const mg_call *call) {                      \
    try {                                                        \
      return name##_body(call);                                  \
    } catch (const std::exception &e) {                          \
      return mg_fail(call, "C++ exception: %s", e.what());       \
    } catch (...) {                                              \
      return mg_fail(call, "C++ exception of no standard type"); \
    }                                                            \
  }                                                              \
  static int name##_body(const mg_call *call)
#else
#define MG_OP(name)                    \
  MG_EXPORT int name(const mg_call *); \
  int name(const mg_call *call)
#endif
#define MG_IN(i, type) ((const type *)call->in[i].data)
#define MG_OUT(i, type) ((type *)call->out[i].data)

/* Say what went wrong, as printf does; returns 1, to be returned. */
static inline int mg_fail(const mg_call *call, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(call->message, (size_t)call->message_size, format, args);
  va_end(args);
  return 1;
}

/* The attribute of that name; if there is none the call fails, and NULL is returned. */
static inline const mg_attr *mg_find(const mg_call *call, const char *name) {
  for (int32_t i = 0; i < call->n_attrs; i++)
    if (!strcmp(call->attrs[i].name, name)) return &call->attrs[i];
  mg_fail(call, "the operation has no attribute '%s'", name);
  return NULL;
}

static inline int64_t mg_int(const mg_call *call, const char *name) {
  const mg_attr *a = mg_find(call, name);
  if (a && a->kind == MG_INTS && a->count) return *(const int64_t *)a->values;
  if (a) mg_fail(call, "attribute '%s' is no integer", name);
  return 0;
}

static inline double mg_float(const mg_call *call, const char *name) {
  const mg_attr *a = mg_find(call, name);
  if (a && a->kind == MG_FLOATS && a->count) return *(const double *)a->values;
  return a ? (double)mg_int(call, name) : 0;
}

static inline const char *mg_text(const mg_call *call, const char *name) {
  const mg_attr *a = mg_find(call, name);
  if (a && a->kind == MG_TEXT) return (const char *)a->values;
  if (a) mg_fail(call, "attribute '%s' is no text", name);
  return "";
}

#endif

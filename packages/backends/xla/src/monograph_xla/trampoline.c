/* XLA's foreign function interface on one side, monograph_op.h on the other: one handler for every C
   function. A custom call names its function by a number made of content, the same in every process;
   what address that is, mg_bind is told by the process that runs it.  */
#include "monograph_op.h"
#include "xla/ffi/api/c_api.h"

#include <stdlib.h>

typedef int function(const mg_call *);

typedef struct entry {
  uint64_t key;
  function *fn;          /* changes once: from Python's guarded call to the function's own address */
  const mg_call *call;   /* a call with shapes, dtypes and attributes; no addresses */
  struct entry *next;
} entry;

enum { BUCKETS = 1 << 12 };
static entry *table[BUCKETS]; /* entries are only added, so readers need no lock */

static entry *find(uint64_t key) {
  entry *e = __atomic_load_n(&table[key % BUCKETS], __ATOMIC_ACQUIRE);
  while (e && e->key != key) e = e->next;
  return e;
}

/* Called under a lock. Returns 0, or 1 when there is no memory. */
MG_EXPORT int mg_bind(uint64_t key, function *fn, const mg_call *call) {
  entry *e = find(key);
  if (e) {
    __atomic_store_n(&e->fn, fn, __ATOMIC_RELEASE);
    return 0;
  }
  e = malloc(sizeof *e);
  if (!e) return 1;
  e->key = key, e->fn = fn, e->call = call, e->next = table[key % BUCKETS];
  __atomic_store_n(&table[key % BUCKETS], e, __ATOMIC_RELEASE);
  return 0;
}

static XLA_FFI_Error *failed(XLA_FFI_CallFrame *frame, const XLA_FFI_ByteSpan *where, const char *why) {
  char text[4096];
  snprintf(text, sizeof text, "monograph op <<%.*s: %s>>", where ? (int)where->len : 0,
           where ? where->ptr : "", why);
  XLA_FFI_Error_Create_Args args = {0};
  args.struct_size = XLA_FFI_Error_Create_Args_STRUCT_SIZE;
  args.message = text;
  args.errc = XLA_FFI_Error_Code_INTERNAL;
  return frame->api->XLA_FFI_Error_Create(&args);
}

static int is_named(const XLA_FFI_Attrs *attrs, int64_t i, const char *name, XLA_FFI_AttrType type) {
  return attrs->types[i] == type && attrs->names[i]->len == strlen(name) &&
         !memcmp(attrs->names[i]->ptr, name, strlen(name));
}

static int place(mg_array *to, const mg_array *from, int64_t n, void **buffers) {
  for (int64_t i = 0; i < n; i++) {
    const XLA_FFI_Buffer *b = buffers[i];
    to[i] = from[i];
    to[i].data = b->data;
    if (b->rank != from[i].ndim || (b->rank && memcmp(b->dims, from[i].shape, 8 * (size_t)b->rank)))
      return 1;
  }
  return 0;
}

MG_EXPORT XLA_FFI_Error *mg_execute(XLA_FFI_CallFrame *frame) {
  /* an extension's type has another name in each version of the header */
  if (frame->extension_start && frame->extension_start->type == XLA_FFI_Extension_Metadata) {
    /* XLA asks what this was compiled for */
    XLA_FFI_Metadata *m = ((XLA_FFI_Metadata_Extension *)frame->extension_start)->metadata;
    m->api_version.major_version = XLA_FFI_API_MAJOR;
    m->api_version.minor_version = XLA_FFI_API_MINOR;
    return NULL;
  }
  const XLA_FFI_Attrs *attrs = &frame->attrs; /* sorted by name */
  if (attrs->size != 2 || !is_named(attrs, 0, "at", XLA_FFI_AttrType_STRING) ||
      !is_named(attrs, 1, "key", XLA_FFI_AttrType_SCALAR))
    return failed(frame, NULL, "a custom call without its attributes");
  const XLA_FFI_ByteSpan *at = attrs->attrs[0];
  const entry *e = find(*(const uint64_t *)((const XLA_FFI_Scalar *)attrs->attrs[1])->value);
  if (!e) return failed(frame, at, "the C function of this operation is not loaded in this process");
  int64_t n_in = e->call->n_in, n_out = e->call->n_out;
  mg_array arrays[n_in + n_out + 1];
  if (frame->args.size != n_in || frame->rets.size != n_out ||
      place(arrays, e->call->in, n_in, frame->args.args) ||
      place(arrays + n_in, e->call->out, n_out, frame->rets.rets))
    return failed(frame, at, "XLA's arrays are not the ones that the operation was compiled for");
  char message[1024];
  message[0] = 0;
  mg_call call = *e->call;
  call.in = arrays, call.out = arrays + n_in;
  call.message = message, call.message_size = sizeof message;
  int code = __atomic_load_n(&e->fn, __ATOMIC_ACQUIRE)(&call);
  if (code && !message[0]) snprintf(message, sizeof message, "it returned %d, and no message", code);
  return message[0] ? failed(frame, at, message) : NULL;
}

"""The structures by which XLA calls Python are those of the header that comes with jaxlib."""

import ctypes
import subprocess

import jax
import pytest
from monograph.native import NoCompiler
from monograph.native.compile import compiler
from monograph_xla import host

# C struct -> ours, and C fields -> ours
LAYOUT = {
    "XLA_FFI_CallFrame": ("Frame", {
        "extension_start": "extension", "api": "api", "stage": "stage", "args": "args", "rets": "rets",
        "attrs": "attrs",
    }),
    "XLA_FFI_Args": ("Arrays", {"size": "size", "args": "arrays"}),
    "XLA_FFI_Rets": ("Arrays", {"size": "size", "rets": "arrays"}),
    "XLA_FFI_Attrs": ("Attrs", {"size": "size", "attrs": "values"}),
    "XLA_FFI_Scalar": ("Scalar", {"dtype": "dtype", "value": "value"}),
    "XLA_FFI_Buffer": ("Buffer", {"dtype": "dtype", "data": "data", "rank": "rank", "dims": "dims"}),
    "XLA_FFI_Error_Create_Args": ("ErrorArgs", {"message": "message", "errc": "code"}),
    "XLA_FFI_Api": ("Api", {"api_version": "version", "XLA_FFI_Error_Create": "create_error"}),
    "XLA_FFI_Api_Version": ("Version", {"major_version": "major", "minor_version": "minor"}),
    "XLA_FFI_Metadata": ("Metadata", {"api_version": "version", "traits": "traits"}),
    "XLA_FFI_Metadata_Extension": ("Extension", {"metadata": "metadata"}),
}  # fmt: skip


def test_the_structures_are_the_headers(tmp_path):
    try:
        command = [*compiler("c").command]
    except NoCompiler as e:
        pytest.skip(str(e))
    places = [(c, a, b) for c, (_, fields) in LAYOUT.items() for a, b in fields.items()]
    rows = "".join(f"P(offsetof({c}, {a}))" for c, a, _ in places)
    rows += "".join(
        f"P({x})"
        for x in (
            "XLA_FFI_API_MAJOR", "XLA_FFI_Extension_Metadata", "XLA_FFI_Error_Code_INTERNAL",
            "sizeof(XLA_FFI_Error_Create_Args)",
        )
    )  # fmt: skip
    (tmp_path / "a.c").write_text(
        '#include <stdio.h>\n#include "xla/ffi/api/c_api.h"\n#define P(x) printf("%d\\n", (int)(x));\n'
        "typedef struct XLA_FFI_Metadata_Extension XLA_FFI_Metadata_Extension;\n"
        f"int main(void) {{ {rows} return 0; }}"
    )
    command += [f"-I{jax.ffi.include_dir()}", "-o", "a", "a.c"]
    subprocess.run(command, check=True, cwd=tmp_path)
    done = subprocess.run(["./a"], cwd=tmp_path, capture_output=True, check=True)
    want = [getattr(getattr(host, f"_{LAYOUT[c][0]}"), b).offset for c, _, b in places]
    want += [host.VERSION[0], host._METADATA, host._INTERNAL, ctypes.sizeof(host._ErrorArgs)]
    assert [int(x) for x in done.stdout.split()] == want

"""Ops in C: what cannot be compiled or loaded, and the cache of what was."""

import functools
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import monograph as mg
import numpy as np
import pytest
from monograph import native
from monograph.errors import ArgumentError, NativeError
from monograph.native import compile as compiling

try:
    compiling.compiler("c"), compiling.compiler("c++")
except native.NoCompiler as e:
    pytest.skip(f"{e}", allow_module_level=True)

X = np.array([[0.5, -1.0, 2.0], [3.0, 4.0, 5.0]], "float32")
SCALED = Path(__file__).with_name("scaled.c").read_text()

pytestmark = pytest.mark.usefixtures("ops_of_one_test", "native_cache")


def scaled(source=SCALED, **options):
    return mg.custom_op_from_c(source, "scaled", infer=lambda x, *, by=2.0: x, **options)


@pytest.mark.parametrize("as_file", [False, True])
def test_a_source_that_does_not_compile_names_the_line(as_file, tmp_path):
    source = SCALED.replace("mg_float(call", "mg_flot(call").replace("return 0;", "return 0")
    if as_file:
        (tmp_path / "bad.c").write_text(source)
    with pytest.raises(NativeError, match="does not compile with") as e:
        scaled(tmp_path / "bad.c" if as_file else source)
    assert str(e.value).startswith(f"{__file__}:")
    assert re.search(r"(bad|scaled)\.c:4:\d+: error", str(e.value)), str(e.value)
    if not as_file:
        assert 'line 4 is: float by = mg_flot(call, "by");' in str(e.value)


def test_a_missing_function_lists_those_that_are_there():
    with pytest.raises(
        NativeError, match=rf"{__file__}:\d+: scald: .* has no function 'scald'"
    ) as e:
        mg.custom_op_from_c(SCALED, "scald", infer=lambda x: x)
    if shutil.which("nm"):
        assert "it exports scaled. Did you mean 'scaled'?" in str(e.value)


@pytest.mark.skipif(not shutil.which("nm"), reason="there is no nm to list a library's functions")
def test_a_cpp_function_without_extern_c_is_recognised():
    source = '#include "monograph_op.h"\nint scaled(const mg_call *call) { return 0; }'
    with pytest.raises(NativeError, match=r"_Z6scaled.* is a C\+\+ name: write MG_OP\(scaled\)"):
        mg.custom_op_from_c(source, "scaled", infer=lambda x: x, language="c++")


@pytest.mark.parametrize(
    ("source", "options", "error", "told"),
    [
        ("no/such/file.c", {}, ArgumentError, "there is no file 'no/such/file.c'"),
        (__file__, {}, ArgumentError, "neither C .* nor a library"),
        (SCALED, {"language": "rust"}, ArgumentError, "language='rust'; it is 'c' or 'c++'"),
        (SCALED, {"dtypes": {"y": "float32"}}, ArgumentError, "dtypes= names y; the operands are x"),
        (SCALED, {"flags": "--no-such-flag -O3"}, NativeError, "no-such-flag"),
        (SCALED, {"flags": ("-lno_such_library",)}, NativeError, "no_such_library"),
    ],
)  # fmt: skip
def test_bad_arguments_are_told(source, options, error, told):
    with pytest.raises(error, match=re.escape(told) if "*" not in told else told):
        scaled(source, **options)


def test_a_path_may_have_braces_and_spaces(tmp_path):
    path = tmp_path / "my {own} op.c"
    path.write_text(SCALED)
    np.testing.assert_array_equal(scaled(path)(X).numpy(), 2 * X)


def test_a_source_that_is_not_utf8(tmp_path):
    path = tmp_path / "op.c"
    path.write_bytes(b"/* \xe9 */\n" + SCALED.encode())
    with pytest.raises(ArgumentError, match=rf"^{__file__}:\d+: scaled: cannot read .* as UTF-8"):
        scaled(path)


@pytest.mark.parametrize("symbol", ["_handle", "__init__", "sca\0led"])
def test_attributes_of_ctypes_and_impossible_names_are_no_functions(symbol):
    with pytest.raises(NativeError, match="has no function"):
        mg.custom_op_from_c(SCALED, symbol, infer=lambda x: x)


def test_quotations_that_do_not_end_are_told(monkeypatch):
    with pytest.raises(ArgumentError, match="scaled: flags='-O3 \"': No closing quotation"):
        scaled(flags='-O3 "')
    monkeypatch.setenv("CC", "cc '")
    compiling.compiler.cache_clear()
    try:
        with pytest.raises(ArgumentError, match=r"^.*:\d+: CC=\"cc '\": No closing quotation"):
            scaled()
    finally:
        compiling.compiler.cache_clear()


def test_a_compiler_that_is_no_program_is_told(tmp_path, monkeypatch):
    path = tmp_path / "cc"
    path.write_bytes(b"\0garbage")
    path.chmod(0o755)
    monkeypatch.setenv("CC", str(path))
    compiling.compiler.cache_clear()
    try:
        with pytest.raises(native.NoCompiler, match="cannot be run"):
            scaled()
    finally:
        compiling.compiler.cache_clear()


@pytest.mark.skipif(
    not os.path.isdir("/proc/self/map_files"), reason="a folder nobody can write to"
)
def test_a_cache_that_cannot_be_written_to_is_told(tmp_path, monkeypatch):
    (tmp_path / "native").symlink_to("/proc/self/map_files")
    monkeypatch.setenv("MONOGRAPH_CACHE", str(tmp_path))
    with pytest.raises(NativeError, match=r"cannot keep compiled operations.*set MONOGRAPH_CACHE"):
        scaled()


def test_a_shape_rule_that_is_no_function():
    with pytest.raises(ArgumentError, match=rf"{__file__}:\d+: scaled: infer= is partial"):
        mg.custom_op_from_c(SCALED, "scaled", infer=functools.partial(lambda x: x))


def test_a_file_that_is_no_library(tmp_path):
    (tmp_path / "lib.so").write_bytes(b"nothing of the kind")
    with pytest.raises(NativeError, match="cannot load"):
        scaled(tmp_path / "lib.so")


def test_a_library_that_changed_since_it_was_loaded_is_refused(tmp_path):
    path = tmp_path / "lib.so"
    shutil.copy(native.build(SCALED, "first"), path)
    scaled(path)
    path.unlink()
    shutil.copy(native.build(SCALED.replace("* by", "+ by"), "second"), path)
    with pytest.raises(NativeError, match="has changed since this process loaded it"):
        scaled(path)


def test_no_compiler_says_how_to_install_one(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: None)
    compiling.compiler.cache_clear()
    try:
        with pytest.raises(
            native.NoCompiler, match=r"no C compiler.*apt install.*pip install ziglang"
        ):
            scaled()
        monkeypatch.setenv("CC", "no-such-cc -O1")
        with pytest.raises(native.NoCompiler, match="there is no program 'no-such-cc'"):
            scaled()
    finally:
        compiling.compiler.cache_clear()


# ---- the cache


def libraries(native_cache):
    return {p.name: p.stat().st_mtime_ns for p in native_cache.glob("*.so")}


def test_compiled_once_by_content(native_cache, tmp_path):
    (tmp_path / "part.h").write_text("#define FACTOR 1\n")
    source = tmp_path / "k.c"
    source.write_text('#include "part.h"\n' + SCALED.replace("* by", "* by * FACTOR"))
    before = libraries(native_cache)
    for _ in range(2):
        scaled(source, name="one")
    once = libraries(native_cache)
    assert len(once) == len(before) + 1 and once.items() >= before.items()
    (tmp_path / "part.h").write_text("#define FACTOR 10\n")
    np.testing.assert_array_equal(scaled(source, name="one")(mg.tensor(X)).numpy(), 20 * X)
    scaled(source, name="one", flags=("-O3",))
    assert len(libraries(native_cache)) == len(before) + 3
    assert [p for p in native_cache.iterdir() if p.suffix != ".so"] == [], "nothing temporary stays"
    assert native_cache.stat().st_mode & 0o777 == 0o700


def in_a_process(code, native_cache, **env):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "MONOGRAPH_CACHE": str(native_cache.parent), **env},
    )  # fmt: skip


RUN = f"""
import monograph as mg, numpy as np
op = mg.custom_op_from_c({SCALED!r}, "scaled", infer=lambda x, *, by: x, name="shared")
with mg.engine("numpy"):
    print(op(mg.tensor(np.ones(3, "float32")), by=3.0).tolist())
"""


def test_processes_may_compile_at_once_and_later_ones_compile_nothing(native_cache):
    started = [in_a_process(RUN, native_cache) for _ in range(4)]
    for p in started:
        out, err = p.communicate(timeout=120)
        assert out == "[3.0, 3.0, 3.0]\n", err
    made = libraries(native_cache)
    assert sum(name.startswith("shared-") for name in made) == 1
    out, err = in_a_process(RUN, native_cache).communicate(timeout=120)
    assert out == "[3.0, 3.0, 3.0]\n" and libraries(native_cache) == made, err


def test_a_cache_that_others_may_write_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MONOGRAPH_CACHE", str(tmp_path))
    folder = tmp_path / "native"
    folder.mkdir(mode=0o700)
    folder.chmod(0o770)
    with pytest.raises(NativeError, match=r"mode 770.*chmod 700"):
        scaled()
    folder.rmdir()
    folder.write_text("a file")
    with pytest.raises(NativeError, match="set MONOGRAPH_CACHE"):
        scaled()

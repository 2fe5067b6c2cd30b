# SPDX-License-Identifier: Apache-2.0
"""--preload: found where the dynamic linker finds it, and refused before anything is started."""

import shutil
import subprocess

import pytest

# Each process that gets to run says so: as many lines as processes.
SOURCE = """
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void)
{
    const char *file = getenv("TRACE_FILE");
    int fd = file ? open(file, O_WRONLY | O_CREAT | O_APPEND, 0644) : -1;
    if (fd >= 0)
        (void)!write(fd, NAME "\\n", sizeof NAME);
}
"""
SHOW = "import os; print(os.environ.get('LD_PRELOAD'))"


@pytest.fixture
def build(tmp_path):
    """build(path, ...): a library that says its file's name when it is loaded."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")

    def make(path, *flags):
        path.parent.mkdir(parents=True, exist_ok=True)
        source = tmp_path / "library.c"
        source.write_text(SOURCE)
        name = f'-DNAME="{path.name}"'
        command = [compiler, "-shared", "-fPIC", name, f"-Wl,-soname,{path.name}", "-o", path, source, *flags]
        subprocess.run(command, check=True)
        return path

    return make


def shown(launcher, *options, env=None, count=1):
    """LD_PRELOAD of the ranks, and which libraries said that they were loaded."""
    trace = launcher.folder / "trace"
    trace.unlink(missing_ok=True)
    env = {"ASAN_OPTIONS": "verify_asan_link_order=0"} | (env or {})  # for an shm-launch built so
    env = {"TRACE_FILE": str(trace)} | env
    result = launcher.run("-n", str(count), "--no-prefix", *options, *launcher.python(SHOW), env=env)
    assert result.returncode == 0, result.stderr
    (value,) = set(result.stdout.splitlines())
    return value, trace.read_text().splitlines() if trace.exists() else []


def refused(launcher, library, env=None):
    result = launcher.run("-n", "1", "--preload", library, "echo", "started", env=env)
    assert (result.returncode, result.stdout) == (2, ""), "nothing is started"
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_a_path_is_in_each_rank_and_only_there(launcher, build):
    library = build(launcher.folder / "lib" / "libone.so")
    value, loaded = shown(launcher, "--preload", str(library), count=2)
    assert value == str(library)
    assert loaded == ["libone.so"] * 2


def test_a_relative_path_holds_in_other_folders(launcher, build):
    build(launcher.folder / "lib" / "libone.so")
    value, loaded = shown(launcher, "--preload", "lib/libone.so", "env", "-C", "/")
    assert value == f"{launcher.folder}/lib/libone.so"
    assert loaded == ["libone.so"] * 2, "env and python"


def test_several_and_the_users_own_last(launcher, build):
    libraries = [build(launcher.folder / "lib" / f"lib{name}.so") for name in ("one", "two", "own")]
    options = ["--preload", str(libraries[0]), "--preload", str(libraries[1])]
    value, loaded = shown(launcher, *options, env={"LD_PRELOAD": str(libraries[2])})
    assert value == ":".join(map(str, libraries))
    assert set(loaded) == {"libone.so", "libtwo.so", "libown.so"}
    by_env = shown(launcher, *options, "--env", f"LD_PRELOAD={libraries[2]}")
    assert by_env[0] == value


def test_without_it_the_users_own_stays(launcher, build):
    own = str(build(launcher.folder / "lib" / "libown.so"))
    assert shown(launcher, env={"LD_PRELOAD": own})[0] == own


@pytest.mark.parametrize(
    ("word", "file"),
    [
        ("libthere.so.7", "libthere.so.7"),
        ("there", "libthere.so"),
        ("tcmalloc", "libtcmalloc.so.4"),
        ("tcmalloc_minimal", "libtcmalloc_minimal.so.4"),
        ("jemalloc", "libjemalloc.so.2"),
        ("iomp5", "libiomp5.so"),
        ("mimalloc", "libmimalloc.so.3"),
    ],
)
def test_names(launcher, build, word, file):
    library = build(launcher.folder / "lib" / file)
    value, loaded = shown(launcher, "--preload", word, env={"LD_LIBRARY_PATH": str(library.parent)})
    assert value == str(library)
    assert loaded == [file]


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_libraries_of_an_environment_of_python(launcher, build, variable):
    library = build(launcher.folder / "environment" / "lib" / "libin-no-system.so")
    env = {"VIRTUAL_ENV": None, "CONDA_PREFIX": None} | {variable: str(library.parent.parent)}
    assert shown(launcher, "--preload", "in-no-system", env=env)[0] == str(library)


def test_a_folder_for_the_ranks_alone(launcher, build):
    library = build(launcher.folder / "lib" / "libthere.so")
    options = ["--env", f"LD_LIBRARY_PATH={library.parent}", "--preload", "there"]
    assert shown(launcher, *options)[0] == str(library)


def test_a_library_of_the_system(launcher):
    value, _ = shown(launcher, "--preload", "libm.so.6")
    assert value.startswith("/") and value.endswith("/libm.so.6")


def test_missing_ones(launcher):
    env = {"LD_LIBRARY_PATH": None, "VIRTUAL_ENV": None, "CONDA_PREFIX": None}
    said = refused(launcher, "libnone-such.so.5", env)
    assert "--preload libnone-such.so.5: libnone-such.so.5: cannot open shared object file" in said
    assert "Looked for in LD_LIBRARY_PATH, the system's folders" in said
    assert "libnone-such.so: cannot open" in refused(launcher, "none-such", env)
    assert "--preload ./none.so: there is no such file" in refused(launcher, "./none.so", env)


def test_a_plan_notes_what_a_start_would_refuse(launcher):
    result = launcher.run("plan", "-n", "1", "--preload", "none-such")
    assert (result.returncode, result.stderr) == (0, "")
    assert "note: --preload none-such: " in result.stdout
    assert "--preload" not in launcher.run("plan", "-n", "1", "--preload", "libm.so.6").stdout


def test_a_missing_one_names_its_package(launcher):
    for word, package in (("jemalloc", "libjemalloc2"), ("libtcmalloc.so.4", "libgoogle-perftools4")):
        result = launcher.run("-n", "1", "--preload", word, "true")
        if result.returncode == 0:
            pytest.skip(f"{word} is installed")
        assert f"Debian has it in {package}" in result.stderr


def test_what_is_no_library_for_this_machine(launcher, build):
    folder = launcher.folder / "lib"
    library = build(folder / "libone.so")
    wrong = bytearray(library.read_bytes())
    wrong[4] = 3 - wrong[4]  # EI_CLASS: 32 bits are 1, 64 bits 2
    (folder / "libclass.so").write_bytes(wrong)
    other = bytearray(library.read_bytes())
    other[18:20] = (243 if other[18] != 243 else 62).to_bytes(2, "little")  # e_machine: RISC-V or x86-64
    (folder / "libmachine.so").write_bytes(other)
    (folder / "libtext.so").write_text("INPUT(libone.so)\n" * 10)
    assert "wrong ELF class" in refused(launcher, f"{folder}/libclass.so")
    assert f"--preload {folder}/libmachine.so: " in refused(launcher, f"{folder}/libmachine.so")
    assert "invalid ELF header" in refused(launcher, f"{folder}/libtext.so")
    assert "cannot read file data" in refused(launcher, str(folder))


def test_a_library_that_lacks_another(launcher, build):
    """Preloaded, it would stop every program of the job, with the linker's words instead of ours."""
    folder = launcher.folder / "lib"
    needed = build(folder / "libneeded.so")
    library = build(folder / "libone.so", "-Wl,--no-as-needed", f"-L{folder}", "-lneeded")
    needed.unlink()
    assert "it needs libneeded.so, which is not there" in refused(launcher, str(library))


@pytest.mark.parametrize("name", ["with blank", "with:colon"])
def test_paths_that_ld_preload_cannot_hold(launcher, build, name):
    library = build(launcher.folder / name / "libone.so")
    assert "the dynamic linker takes blanks and colons for the end of a path" in refused(launcher, str(library))
    env = {"LD_LIBRARY_PATH": str(library.parent)}
    if ":" not in name:
        assert "which cannot be preloaded: it has a blank or a colon" in refused(launcher, "libone.so", env)


def test_one_library_each_time(launcher):
    assert "several: --preload A --preload B" in refused(launcher, "libm.so.6:libc.so.6")

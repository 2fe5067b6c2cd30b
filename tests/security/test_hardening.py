# SPDX-License-Identifier: Apache-2.0
"""The installed programs and libraries as files: what cmake/hardening.cmake asks the compiler and the linker for."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import stat
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

NAMES = ("shm-launch", "shm-bench", "libshmrt", "libshmrt_torch", "_C")
NOW, NOW_1, PIE, TEXT_RELOCATIONS = 0x8, 0x1, 0x08000000, 0x4
ENDBR64 = bytes.fromhex("f30f1efa")
WRITE, EXECUTE = 2, 1


def path_of(name: str) -> Path:
    if name.startswith("shm-"):
        found = os.environ.get(name.upper().replace("-", "_")) or shutil.which(name)
        assert found, f"{name} is not on PATH: build and install it first"
        return Path(found).resolve()
    spec = importlib.util.find_spec("shmrt")  # without PyTorch, which importing it would load
    assert spec and spec.origin, "the package is not installed"
    package = Path(spec.origin).parent
    (found_file,) = package.glob({"_C": "_C.*.so", "libshmrt": "lib/libshmrt.so.*"}.get(name, f"lib/{name}.so"))
    return found_file


@pytest.fixture(params=NAMES)
def elf(request: pytest.FixtureRequest):
    with open(path_of(request.param), "rb") as file:
        yield ELFFile(file)


def tags(elf: ELFFile) -> dict[str, int]:
    dynamic = elf.get_section_by_name(".dynamic")
    assert isinstance(dynamic, DynamicSection)
    return {tag.entry.d_tag: tag.entry.d_val for tag in dynamic.iter_tags()}


def paths(elf: ELFFile) -> list[str]:
    dynamic = elf.get_section_by_name(".dynamic")
    return [
        folder
        for tag in dynamic.iter_tags()
        for kind in ("rpath", "runpath")
        if tag.entry.d_tag == f"DT_{kind.upper()}"
        for folder in getattr(tag, kind).split(":")
    ]


def imports(elf: ELFFile) -> set[str]:
    return {
        symbol.name for symbol in elf.get_section_by_name(".dynsym").iter_symbols() if symbol["st_shndx"] == "SHN_UNDEF"
    }


def functions(elf: ELFFile) -> dict[str, bytes]:
    """The first bytes of each that others can call."""
    found = {}
    code = {number: section.data() for number, section in enumerate(elf.iter_sections()) if section.name == ".text"}
    for symbol in elf.get_section_by_name(".dynsym").iter_symbols():
        if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_shndx"] in code:
            at = symbol["st_value"] - elf.get_section(symbol["st_shndx"])["sh_addr"]
            found[symbol.name] = code[symbol["st_shndx"]][at : at + 4]
    return found


def test_it_lies_anywhere_in_memory(elf: ELFFile):
    assert elf["e_type"] == "ET_DYN"
    if any(segment["p_type"] == "PT_INTERP" for segment in elf.iter_segments()):
        assert tags(elf).get("DT_FLAGS_1", 0) & PIE


def test_what_is_linked_is_bound_at_the_start_and_then_read_only(elf: ELFFile):
    found = tags(elf)
    assert any(segment["p_type"] == "PT_GNU_RELRO" for segment in elf.iter_segments())
    assert found.get("DT_FLAGS", 0) & NOW or found.get("DT_FLAGS_1", 0) & NOW_1
    assert "DT_TEXTREL" not in found and not found.get("DT_FLAGS", 0) & TEXT_RELOCATIONS


def test_nothing_is_writable_and_executable(elf: ELFFile):
    stacks = [segment for segment in elf.iter_segments() if segment["p_type"] == "PT_GNU_STACK"]
    assert stacks and not stacks[0]["p_flags"] & EXECUTE
    loaded = [segment["p_flags"] for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD"]
    assert loaded and not [flags for flags in loaded if flags & WRITE and flags & EXECUTE]


def test_stack_and_buffers_are_watched(elf: ELFFile):
    found = imports(elf)
    assert "__stack_chk_fail" in found
    assert [name for name in found if name.endswith("_chk")], "no function that checks its buffer (_FORTIFY_SOURCE)"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="marks for indirect branches are looked for on x86-64")
@pytest.mark.parametrize("name", ["libshmrt", "libshmrt_torch"])
def test_indirect_branches_land_where_they_may(name: str):
    with open(path_of(name), "rb") as file:
        found = functions(ELFFile(file))
    bare = [function for function, start in found.items() if start != ENDBR64]
    assert len(found) > 20
    assert not bare, f"{len(bare)} of {len(found)}, such as {bare[:5]}"


def test_libraries_are_looked_for_beside_it_or_where_the_system_has_them(elf: ELFFile):
    assert not [folder for folder in paths(elf) if folder != "$ORIGIN" and not folder.startswith("$ORIGIN/")]


@pytest.mark.parametrize("name", NAMES)
def test_it_lends_no_rights(name: str):
    path = path_of(name)
    assert not path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH)
    assert "security.capability" not in os.listxattr(path)

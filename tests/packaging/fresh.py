# SPDX-License-Identifier: Apache-2.0
"""A virtual environment that has PyTorch, what PyTorch needs, and nothing else."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

LIMIT_S = 600  # of one command, which compiles a little; nothing here measures speed


def needed(name: str, found: dict[str, importlib.metadata.Distribution]) -> None:
    """Fill `found` with the distribution and those that it needs here."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        return
    try:
        found[key] = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return  # for another platform, or an extra
    for line in found[key].requires or []:
        if "extra ==" not in line:
            needed(re.match(r"[A-Za-z0-9._-]+", line)[0], found)


def site_packages(environment: Path) -> Path:
    return environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def environment_with_torch(folder: Path) -> Path:
    """The distributions of this environment by links, since they are large."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=LIMIT_S)
    found: dict[str, importlib.metadata.Distribution] = {}
    needed("torch", found)
    for distribution in found.values():
        for top in {str(file).split("/")[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            link = site_packages(folder) / top
            if not link.exists():
                link.symlink_to(distribution.locate_file(top))
    return folder


def pip(environment: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """This environment's pip, working on `environment`, with no index to fetch from."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", environment / "bin" / "python"]
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=LIMIT_S)

# SPDX-License-Identifier: Apache-2.0
"""deploy/: no engine runs here, so linters, and whether the commands in the files are ones that shm-launch takes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
LIMIT_S = 120


def run(*words: object) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [shutil.which(str(words[0]), path=path) or pytest.fail(f"{words[0]} is not installed"), *words[1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=os.environ | {"PATH": path})


def test_dockerfile(tmp_path: Path):
    done = run("hadolint", DEPLOY / "Dockerfile")
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr
    broken = tmp_path / "Dockerfile"  # does it look at all?
    broken.write_text((DEPLOY / "Dockerfile").read_text().replace("WORKDIR /src", "WORKDIR src"))
    assert run("hadolint", broken).returncode != 0


def test_dockerfile_takes_what_is_tested():
    """The versions of requirements/, and a user without privileges at the end."""
    text = (DEPLOY / "Dockerfile").read_text()
    tested = "".join(path.read_text() for path in (ROOT / "requirements").glob("*.txt"))
    tested += (ROOT / "scripts" / "setup-python.sh").read_text()
    pinned = re.findall(r"\b[a-z][a-z-]*==[0-9.]+", text)
    assert len(pinned) >= 4 and [p for p in pinned if p not in tested] == []
    assert re.findall(r"^USER (.*)$", text, re.M)[-1] == "1000"
    debian = (ROOT / "requirements" / "debian.txt").read_text()
    for package in ("libhwloc-dev", "libjansson-dev", "libyaml-dev", "pkg-config", "scdoc", "build-essential"):
        assert package in text and package in debian


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_manifest(manifest: Path, tmp_path: Path):
    done = run("kubernetes-validate", "--strict", manifest)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / "broken.yaml"
    broken.write_text(manifest.read_text().replace("backoffLimit:", "backOffLimit:"))
    assert run("kubernetes-validate", "--strict", broken).returncode != 0


def pods(manifest: Path) -> list[dict]:
    return [d["spec"]["template"]["spec"] for d in yaml.safe_load_all(manifest.read_text()) if d["kind"] == "Job"]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_pods_are_guaranteed_and_unprivileged(manifest: Path):
    for pod in pods(manifest):
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 1000
        for container in pod["containers"]:
            resources = container["resources"]
            assert resources["requests"] == resources["limits"] and resources["limits"]["cpu"].isdigit()
            context = container["securityContext"]
            assert context["capabilities"] == {"drop": ["ALL"]} and not context["allowPrivilegeEscalation"]
            assert context["readOnlyRootFilesystem"]
            mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert mounted == {"/home/shmrt", "/tmp"}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_the_launcher_takes_the_arguments(manifest: Path):
    """As in a pod, but for the ranks themselves; the script is one that the image has."""
    for pod in pods(manifest):
        for container in pod["containers"]:
            words = [word.replace("$(JOB_COMPLETION_INDEX)", "1") for word in container["args"]]
            script = Path(words[-1])
            assert (ROOT / script.relative_to("/opt/shmrt")).exists()
            machine = ("--dry-run", "--topology", "pack:2 numa:1 core:8 pu:1")
            done = run("shm-launch", *machine, *words[:-2], "python", script)
            assert done.returncode == 0, done.stderr


def test_the_two_nodes_find_each_other():
    service, job = yaml.safe_load_all((DEPLOY / "kubernetes" / "two-nodes.yaml").read_text())
    name, pod = job["metadata"]["name"], job["spec"]["template"]["spec"]
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["selector"] == {"job-name": name}
    assert service["spec"]["publishNotReadyAddresses"] and pod["subdomain"] == service["metadata"]["name"]
    words = pod["containers"][0]["args"]
    assert f"--master-addr={name}-0.{service['metadata']['name']}" in words
    assert f"--nnodes={job['spec']['completions']}" in words
    assert job["spec"]["completions"] == job["spec"]["parallelism"]


def test_no_registry_is_named():
    """Images by their own names only: where they come from is set where they are pulled."""
    text = "".join(path.read_text() for path in DEPLOY.rglob("*") if path.is_file())
    images = re.findall(r"(?:image:|FROM) (\S+)", text)
    assert images and not [image for image in images if "/" in image]

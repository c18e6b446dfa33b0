"""What lies in deploy/: scripts and Dockerfiles pass their linters, and every option in them is one the code has."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.beam_options import beam_options
from pipelines.commands.classify import command as classify
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
SCRIPTS = sorted(DEPLOY.rglob("*.sh"))
DOCKERFILES = sorted(DEPLOY.rglob("Dockerfile*"))
METADATA = json.loads((DEPLOY / "dataflow" / "metadata.json").read_text())


def linter(name: str) -> str:
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found, f"{name} is part of reelbeam[test]"
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_pass_shellcheck(script: Path) -> None:
    done = subprocess.run(
        [linter("shellcheck"), "-x", "-P", "SCRIPTDIR", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_pass_hadolint(dockerfile: Path) -> None:
    done = subprocess.run([linter("hadolint"), dockerfile], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_images_have_the_codes_beam() -> None:
    (version,) = set(re.findall(r'"apache-beam==([\d.]+)"', (ROOT / "setup.py").read_text()))
    for kind in ("cpu", "gpu"):
        images = re.findall(
            r"apache/beam_python3.11_sdk:([\d.]+)", (DEPLOY / "images" / f"Dockerfile.{kind}").read_text()
        )
        assert images == [version]


def test_the_flink_image_and_its_job_server_are_those_of_the_scripts() -> None:
    settings = (DEPLOY / "flink" / "settings.sh").read_text()
    flink = re.search(r'"\$\{FLINK_VERSION:=([\d.]+)\}"', settings)[1]
    beam = re.search(r'"\$\{BEAM_JAVA_VERSION:=([\d.]+)\}"', settings)[1]
    image = (DEPLOY / "images" / "Dockerfile.flink").read_text()
    pom = (DEPLOY / "flink" / "job-server" / "pom.xml").read_text()
    line = flink.rsplit(".", 1)[0]
    assert f"ARG FLINK_VERSION={flink}\n" in image
    assert f"flink-{line}-job-server-{beam}.jar" in image
    assert f"<beam.version>{beam}<" in pom and f"<flink.line>{line}<" in pom
    cluster = yaml.safe_load((DEPLOY / "flink" / "kubernetes" / "cluster.yaml").read_text())
    assert cluster["spec"]["flinkVersion"] == "v" + line.replace(".", "_")


def test_the_templates_parameters_are_options_of_the_code() -> None:
    options = {name.removeprefix("--"): one for one in classify.params for name in one.opts}
    parameters = {one["name"]: one for one in METADATA["parameters"]}
    assert parameters.keys() <= options.keys()
    required = {name for name, one in options.items() if one.required}
    assert required <= {name for name, one in parameters.items() if not one.get("isOptional")}
    for name, one in parameters.items():
        default = options[name].default
        for pattern in one.get("regexes", []):
            re.compile(pattern)
            if isinstance(default, str | int):
                assert re.match(pattern, str(default)), (name, default)


@pytest.mark.parametrize("script", ["launch.sh"])
def test_launching_gives_only_parameters_of_the_template(script: str) -> None:
    text = (DEPLOY / "dataflow" / script).read_text()
    of_the_worker = {"sdk_container_image", "dataflow_service_options"}
    given = set(re.findall(r'--parameters "([a-z_-]+)=', text)) - of_the_worker
    scheduled = set(json.loads(re.sub(r"\$\w+", "x", re.search(r'"parameters": (\{.*?\})', text)[1])))
    required = {one["name"] for one in METADATA["parameters"] if not one.get("isOptional")}
    known = {one["name"] for one in METADATA["parameters"]}
    assert required <= given <= known and required <= scheduled <= known


def test_the_nightly_job_on_kubernetes_is_a_command_the_code_accepts() -> None:
    nightly = yaml.safe_load((DEPLOY / "flink" / "kubernetes" / "nightly.yaml").read_text())
    assert (nightly["apiVersion"], nightly["kind"]) == ("batch/v1", "CronJob")
    assert nightly["spec"]["concurrencyPolicy"] == "Forbid"
    (driver,) = nightly["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert driver["command"] == ["reelbeam", "classify"]
    with classify.make_context("classify", list(driver["args"])) as context:
        options = beam_options(context.args, classify)
    assert options.view_as(type(options)).get_all_options(drop_default=True)["flink_master"] == "reelbeam-rest:8081"


def test_the_cluster_on_kubernetes_is_sized_whole() -> None:
    folder = DEPLOY / "flink" / "kubernetes"
    cluster, gpu = (yaml.safe_load((folder / name).read_text()) for name in ("cluster.yaml", "cluster-gpu.yaml"))
    for one in (cluster, gpu):
        assert (one["apiVersion"], one["kind"]) == ("flink.apache.org/v1beta1", "FlinkDeployment")
        assert one["metadata"]["name"] == "reelbeam"
    spec = cluster["spec"]
    assert all(isinstance(value, str) for value in spec["flinkConfiguration"].values()), "the operator takes strings"
    slots = int(spec["flinkConfiguration"]["taskmanager.numberOfTaskSlots"]) * spec["taskManager"]["replicas"]
    args = yaml.safe_load((folder / "nightly.yaml").read_text())["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    given = dict(arg.removeprefix("--").split("=", 1) for arg in args["containers"][0]["args"])
    assert int(given["parallelism"]) == slots
    assert int(given["decode-workers"]) == spec["taskManager"]["resource"]["cpu"]
    assert given["flink_master"] == f"{cluster['metadata']['name']}-rest:8081"
    assert given["environment_options"].endswith("/bin/reelbeam-worker")

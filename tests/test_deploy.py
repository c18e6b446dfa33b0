"""What lies in deploy/: scripts and Dockerfiles pass their linters, and every option in them is one the code has."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from pipelines.beam_options import beam_options
from pipelines.commands.classify import command as classify
from pipelines.commands.main import cli
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


@pytest.fixture
def systemd_units(tmp_path: Path) -> Path:
    """The units with this environment's `reelbeam`."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    program = Path(sys.executable).parent / "reelbeam"
    for unit in (DEPLOY / "systemd").iterdir():
        text = unit.read_text().replace("/opt/reelbeam/bin/reelbeam", str(program))
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def test_systemd_takes_the_units(systemd_units: Path) -> None:
    units = [systemd_units / f"reelbeam-nightly.{kind}" for kind in ("service", "timer")]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    broken = units[0].read_text().replace("Type=oneshot", "Type=onceshot")
    units[0].write_text(broken)
    done = subprocess.run(["systemd-analyze", "verify", units[0]], capture_output=True, text=True, check=False)
    assert "onceshot" in done.stderr, "the check must be able to fail"


def test_the_units_commands_are_commands_of_the_code() -> None:
    unit = (DEPLOY / "systemd" / "reelbeam-nightly.service").read_text()
    commands = [shlex.split(line.replace("%%", "%")) for line in re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)]
    assert [words[1] for words in commands] == ["classify", "index"]
    for words in commands:
        command = cli.get_command(click.Context(cli), words[1])
        assert command is not None
        known = {name for one in command.params for name in one.opts}
        assert {word for word in words if word.startswith("--")} <= known
    variables = set(re.findall(r"\$\{(\w+)\}", unit))
    settings = (DEPLOY / "systemd" / "nightly.env").read_text()
    assert variables == set(re.findall(r"^(\w+)=", settings, re.MULTILINE))


def test_systemd_starts_the_night(systemd_units: Path, clips: Path, tmp_path: Path) -> None:
    """The service's own commands and limits, with its folders put under the test's."""
    running = subprocess.run(["systemctl", "is-system-running"], capture_output=True, text=True, check=False)
    if running.stdout.strip() not in ("running", "degraded") or os.getuid() != 0:
        pytest.skip(f"systemd does not run this machine ({running.stdout.strip()})")
    unit = (systemd_units / "reelbeam-nightly.service").read_text()
    left_out = ("User", "EnvironmentFile", "Environment", "StateDirectory", "CacheDirectory", "WorkingDirectory")
    settings = [
        line for line in unit.split("[Service]\n")[1].splitlines()
        if "=" in line and not line.startswith(("#", "ExecStart", "Type", *left_out))
    ]  # fmt: skip
    archive = tmp_path / "archive"
    archive.mkdir()
    shutil.copy(clips / "gif.gif", archive)
    # What is bound into the service's file system, and its cache, take the place of what is left out.
    settings += [f"BindPaths={tmp_path}", f"ReadWritePaths={tmp_path}", f"Environment=XDG_CACHE_HOME={tmp_path}/cache"]
    properties = [word for setting in settings for word in ("-p", setting)]
    places = {"${REELBEAM_ARCHIVE}": str(archive), "/var/lib/reelbeam": str(tmp_path), "%%": "%"}
    for command in re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE):
        words = command
        for place, here in places.items():
            words = words.replace(place, here)
        done = subprocess.run(
            ["systemd-run", "--wait", "--collect", "--pipe", *properties, *shlex.split(words)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "index.json").read_text())["exit_code"] == 0

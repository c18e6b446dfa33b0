"""Both jobs as the real DataflowRunner submits them, to a stand-in of the service on loopback."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import translations

from tests.command_line import ROOT, reelbeam_command
from tests.conftest import Finished, Reelbeam
from tests.dataflow_endpoint import Endpoint
from tests.tables import contents, leftovers
from transforms import storage
from transforms.catalog.runs import Catalog

pytestmark = pytest.mark.slow

pytest.importorskip("google.cloud.dataflow_v1beta3", reason="needs reelbeam[gcp]")

ACCELERATOR = "type:nvidia-l4;count:1;install-nvidia-driver"
HINT = common_urns.resource_hints.ACCELERATOR.urn
WORKERS = (
    "--sdk_container_image=registry.example/reelbeam-gpu:1",
    "--worker_machine_type=g2-standard-8",
    "--number_of_worker_harness_threads=2",
    "--experiments=no_use_multiple_sdk_containers",
    "--max_num_workers=20",
)


def submit(reelbeam: Reelbeam, folder: Path, endpoint: Endpoint, *arguments: object) -> Finished:
    (folder / "staging").mkdir(exist_ok=True)
    service = (
        *("--runner=DataflowRunner", "--no_auth", f"--dataflow_endpoint={endpoint.address}", "--project=p"),
        *("--region=europe-west4", f"--staging_location={folder}/staging", f"--temp_location={folder}/tmp"),
        "--sdk_location=container",
    )
    return reelbeam(*arguments, *service, *WORKERS, timeout_s=900)


def staged_pipeline(folder: Path) -> beam_runner_api_pb2.Pipeline:
    return beam_runner_api_pb2.Pipeline.FromString((folder / "staging" / "pipeline.pb").read_bytes())


def check_workers(job: dict) -> None:
    (pool,) = job["environment"]["workerPools"]
    assert pool["machineType"] == "g2-standard-8"
    assert pool["numThreadsPerWorker"] == 2
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 20
    images = {image["containerImage"] for image in pool["sdkHarnessContainerImages"]}
    assert images == {"registry.example/reelbeam-gpu:1"}
    assert {"use_runner_v2", "no_use_multiple_sdk_containers"} <= set(job["environment"]["experiments"])


def test_the_nightly_job_is_asked_for_as_it_was_meant(clips: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "catalog"
    with Endpoint().running() as endpoint:
        done = submit(
            reelbeam, tmp_path, endpoint, "classify", "--archive", clips, "--catalog", catalog, "--model", "placeholder",
            "--extract-hint", f"accelerator={ACCELERATOR}", "--extract-hint", "min_ram=12GB", "--setup_file=./setup.py",
        )  # fmt: skip
    assert (
        done.code == 1
        and "the job ended as FAILED on its runner (out of quota)" in done.err
        and "Traceback" not in done.err
    )
    assert not list(catalog.glob("runs/*.json")), "a job that failed commits nothing"
    (job,) = endpoint.jobs
    check_workers(job)
    packages = {package["name"] for package in job["environment"]["workerPools"][0]["packages"]}
    assert "workflow.tar.gz" in packages and (tmp_path / "staging" / "workflow.tar.gz").stat().st_size > 10_000
    check_extract(staged_pipeline(tmp_path))


def check_extract(pipeline: beam_runner_api_pb2.Pipeline) -> None:
    """Decoding, inferring and writing are one fused stage, the only one whose environment has the accelerator."""
    environments = pipeline.components.environments
    with_gpu = {name for name, one in environments.items() if one.resource_hints.get(HINT) == ACCELERATOR.encode()}
    assert with_gpu
    transforms = pipeline.components.transforms
    hinted = {name for name, one in transforms.items() if one.environment_id in with_gpu and not one.subtransforms}
    assert {transforms[name].unique_name.split("/")[0] for name in hinted} == {"ExtractFeatures"}
    _, stages = translations.create_and_optimize_stages(
        pipeline,
        phases=translations.standard_optimize_phases(),
        known_runner_urns=frozenset(),
        use_state_iterables=False,
    )
    extract = [stage for stage in stages if any("Decode, infer, write" in t.unique_name for t in stage.transforms)]
    assert len(extract) == 1
    steps = {
        t.unique_name.split("/")[0] for t in extract[0].transforms if t.spec.urn == common_urns.primitives.PAR_DO.urn
    }
    assert "ExtractFeatures" in steps and "PlanChunks" not in steps


def test_one_accelerator_for_all_workers_is_a_service_option(clips: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    with Endpoint().running() as endpoint:
        option = f"--dataflow_service_options=worker_accelerator={ACCELERATOR}"
        catalog = tmp_path / "catalog"
        submit(
            reelbeam,
            tmp_path,
            endpoint,
            "classify",
            "--archive",
            clips,
            "--catalog",
            catalog,
            "--model",
            "placeholder",
            option,
        )
    assert endpoint.jobs[0]["environment"]["serviceOptions"] == [f"worker_accelerator={ACCELERATOR}"]


def test_the_index_job_is_asked_for_too(clips: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "catalog"
    reelbeam("classify", "--archive", clips, "--catalog", catalog, "--model", "placeholder")
    with Endpoint().running() as endpoint:
        done = submit(reelbeam, tmp_path, endpoint, "index", "--catalog", catalog)
    assert done.code == 1 and "the job ended as FAILED on its runner (out of quota)" in done.err, done.err
    check_workers(endpoint.jobs[0])
    assert any("WriteShards" in one.unique_name for one in staged_pipeline(tmp_path).components.transforms.values())


def test_the_index_of_a_catalog_on_an_object_store_is_asked_for_with_the_nights_image(
    bucket: str, placeholder_catalog: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    """By the script in `deploy/`. The job that fails leaves nothing that the next build does not clear away."""
    for file in storage.list_files(str(placeholder_catalog)):
        if data := storage.read_bytes(file.path):
            storage.write_atomically(file.path.replace(str(placeholder_catalog), f"{bucket}/catalog"), data)
    (tmp_path / "staging").mkdir()
    program = tmp_path / "bin" / "reelbeam"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(reelbeam_command())} "$@"\n')
    program.chmod(0o755)
    image = "registry.example/reelbeam-cpu:1"
    given = {"PROJECT": "p", "REGION": "europe-west4", "BUCKET": str(tmp_path), "WORKER": image}
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    with Endpoint().running() as endpoint:
        done = subprocess.run(
            [ROOT / "deploy/dataflow/index.sh", "--no_auth", f"--dataflow_endpoint={endpoint.address}"],
            env={**os.environ, **given, "CATALOG": f"{bucket}/catalog", "PATH": path},
            cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert done.returncode == 1 and "the job ended as FAILED on its runner (out of quota)" in done.stderr, done.stderr
    (job,) = endpoint.jobs
    (pool,) = job["environment"]["workerPools"]
    assert {one["containerImage"] for one in pool["sdkHarnessContainerImages"]} == {image}
    assert (pool["machineType"], pool["autoscalingSettings"]["maxNumWorkers"]) == ("n2-standard-8", 20)
    assert "no_use_multiple_sdk_containers" in job["environment"]["experiments"]
    options = job["environment"]["sdkPipelineOptions"]["options"]
    assert (options["temp_location"], options["sdk_location"]) == (f"{tmp_path}/tmp", "container")
    assert any("WriteShards" in one.unique_name for one in staged_pipeline(tmp_path).components.transforms.values())
    assert not storage.exists(f"{bucket}/catalog/index/LOCK")
    built = reelbeam("index", "--catalog", f"{bucket}/catalog", "--json")
    assert (built.code, built.json["videos"]) == (0, 4), built.err
    assert storage.list_folders(f"{bucket}/catalog/index") == [built.json["index_id"]]


def test_a_template_is_written_and_its_job_commits(clips: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    template = tmp_path / "template.json"
    with Endpoint().running() as endpoint:
        done = submit(
            reelbeam, tmp_path, endpoint, "classify", "--archive", clips, "--catalog", tmp_path / "catalog",
            "--model", "placeholder", f"--template_location={template}",
        )  # fmt: skip
    assert done.code == 0 and "commits the run itself" in done.err, done.err
    assert endpoint.jobs == [] and json.loads(template.read_text())["environment"]
    assert any(one.unique_name == "Commit" for one in staged_pipeline(tmp_path).components.transforms.values())


def test_a_jobs_own_commit_gives_the_catalog_that_a_drivers_gives(
    clips: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    """Beam's in-process runner knows no templates and runs the described job at once, to its last step."""
    options = ("--archive", clips, "--model", "placeholder")
    driver, job = tmp_path / "driver", tmp_path / "job"
    assert reelbeam("classify", *options, "--catalog", driver).code == 0
    described = reelbeam("classify", *options, "--catalog", job, f"--template_location={tmp_path}/template.json")
    assert described.code == 0, described.err
    assert contents(job) == contents(driver) and leftovers(job) == []
    ours, theirs = (Catalog(str(catalog)).newest_run() for catalog in (job, driver))
    assert ours is not None and theirs is not None
    assert (ours.counts, ours.frames, ours.labels) == (theirs.counts, theirs.frames, theirs.labels)

"""`reelbeam-worker`: Beam's Python worker without Docker, for ``--environment_type=PROCESS``.

A runner starts it with the endpoints on its command line, as it starts the `boot` program of Beam's images. It installs
nothing: reelbeam is where it runs from. It asks the provision service for the job's options and becomes Beam's worker.
"""

import argparse
import os
from collections.abc import Sequence

import grpc
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc, endpoints_pb2
from google.protobuf import json_format, text_format

PROVISION_TIMEOUT_S = 60.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a worker until its runner ends it."""
    from apache_beam.runners.worker import sdk_worker_main

    chosen = _parser().parse_args(arguments)
    os.environ.update(environment(chosen, provision(chosen.provision_endpoint, chosen.id)))
    sdk_worker_main.main([])


def provision(endpoint: str, worker_id: str) -> beam_provision_api_pb2.ProvisionInfo:
    """What the runner knows about the job.

    Raises:
        grpc.RpcError: the runner does not answer.
    """
    with grpc.insecure_channel(endpoint) as channel:
        grpc.channel_ready_future(channel).result(PROVISION_TIMEOUT_S)
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        return service.GetProvisionInfo(request, PROVISION_TIMEOUT_S, metadata=[("worker_id", worker_id)]).info


def environment(chosen: argparse.Namespace, info: beam_provision_api_pb2.ProvisionInfo) -> dict[str, str]:
    """The variables that Beam's worker reads; endpoints of the command line stand in for those that `info` lacks."""
    values = {
        "WORKER_ID": chosen.id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
        "LOGGING_API_SERVICE_DESCRIPTOR": _descriptor(info.logging_endpoint.url or chosen.logging_endpoint),
        "CONTROL_API_SERVICE_DESCRIPTOR": _descriptor(info.control_endpoint.url or chosen.control_endpoint),
    }
    if info.status_endpoint.url:
        values["STATUS_API_SERVICE_DESCRIPTOR"] = _descriptor(info.status_endpoint.url)
    return values


def _descriptor(url: str) -> str:
    return text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=url))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="reelbeam-worker", description="Started by a runner, not by people.")
    parser.add_argument("--id", required=True)
    parser.add_argument("--provision_endpoint", required=True)
    for name in ("logging_endpoint", "artifact_endpoint", "control_endpoint", "semi_persist_dir"):
        parser.add_argument(f"--{name}", default="")
    return parser


if __name__ == "__main__":
    main()

"""`reelbeam-worker`: runs Beam's Python worker without Docker, for ``--environment_type=PROCESS``.

A runner starts this program as it starts the `boot` program of Beam's images: with the endpoints of its services on the
command line. The program asks the provision service for the job's options and then runs Beam's worker in its own
process. Unlike `boot`, it installs nothing, because reelbeam is already installed where it runs.
"""

import argparse
import os
from collections.abc import Sequence

import grpc
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc, endpoints_pb2
from google.protobuf import json_format, text_format

from pipelines.terminal.utf8 import use_utf8

PROVISION_TIMEOUT_S = 60.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a worker until its runner ends it.

    Args:
        arguments: the command line without the program's name; None for that of the process.

    Raises:
        grpc.RpcError: the runner does not say what the job's options are.
        grpc.FutureTimeoutError: the runner does not answer within `PROVISION_TIMEOUT_S`.
    """
    if arguments is None:
        use_utf8()
    from apache_beam.runners.worker import sdk_worker_main

    chosen = _parser().parse_args(arguments)
    os.environ.update(environment(chosen, provision(chosen.provision_endpoint, chosen.id)))
    sdk_worker_main.main([])


def provision(endpoint: str, worker_id: str) -> beam_provision_api_pb2.ProvisionInfo:
    """Asks the runner's provision service about the job.

    Args:
        endpoint: host and port of the service.
        worker_id: id that the runner gave this worker.

    Raises:
        grpc.RpcError: the service does not answer the request.
        grpc.FutureTimeoutError: the service does not answer within `PROVISION_TIMEOUT_S`.
    """
    with grpc.insecure_channel(endpoint) as channel:
        grpc.channel_ready_future(channel).result(PROVISION_TIMEOUT_S)
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        return service.GetProvisionInfo(request, PROVISION_TIMEOUT_S, metadata=[("worker_id", worker_id)]).info


def environment(chosen: argparse.Namespace, info: beam_provision_api_pb2.ProvisionInfo) -> dict[str, str]:
    """Returns the environment variables that Beam's worker reads.

    Args:
        chosen: the command line; its endpoints are used if `info` has none.
        info: what the provision service told.
    """
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

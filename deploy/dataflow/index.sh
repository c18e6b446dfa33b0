#!/usr/bin/env bash
# Builds or extends the index of a catalog on Dataflow, with the image and the folders of the nightly job. It runs on a
# machine with reelbeam[gcp] and waits for the job; more options of `reelbeam index` and of Beam may follow:
#
#   PROJECT=p REGION=europe-west4 BUCKET=gs://bucket WORKER=.../reelbeam-cpu:abc123 CATALOG=gs://bucket/catalog \
#   deploy/dataflow/index.sh [--rebuild ...]
set -euo pipefail

: "${PROJECT:?}" "${REGION:?}" "${BUCKET:?}" "${WORKER:?}" "${CATALOG:?}"
: "${MAX_WORKERS:=20}"
command -v reelbeam >/dev/null || { echo "reelbeam is missing: pip install 'reelbeam[gcp]'" >&2; exit 1; }

exec reelbeam index --catalog "$CATALOG" --runner=DataflowRunner --project="$PROJECT" --region="$REGION" \
    --temp_location="$BUCKET/tmp" --staging_location="$BUCKET/staging" \
    --sdk_location=container --sdk_container_image="$WORKER" \
    --worker_machine_type=n2-standard-8 --max_num_workers="$MAX_WORKERS" --number_of_worker_harness_threads=8 \
    --experiments=no_use_multiple_sdk_containers "$@"

#!/usr/bin/env bash
# Launches one night from the Flex Template. With --schedule, it makes a schedule that launches one every night at 2:
#
#   PROJECT=p REGION=europe-west4 BUCKET=gs://bucket WORKER=.../reelbeam-cpu:abc123 ARCHIVE=gs://videos \
#   CATALOG=gs://bucket/catalog deploy/dataflow/launch.sh cpu|gpu [--schedule SERVICE_ACCOUNT]
set -euo pipefail

kind=${1:-}
[[ $kind == cpu || $kind == gpu ]] || { echo "usage: $(basename "$0") cpu|gpu [--schedule SERVICE_ACCOUNT]" >&2; exit 2; }
: "${PROJECT:?}" "${REGION:?}" "${BUCKET:?}" "${WORKER:?}" "${ARCHIVE:?}" "${CATALOG:?}"
: "${MAX_WORKERS:=20}" "${DECODE_WORKERS:=8}"
command -v gcloud >/dev/null || { echo "gcloud is missing" >&2; exit 1; }

machine=n2-standard-8 accelerator=()
if [[ $kind == gpu ]]; then
    machine=g2-standard-8
    accelerator=("worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver")
fi

if [[ ${2:-} == --schedule ]]; then
    account=${3:?the service account that launches}
    body=$(cat <<JSON
{"launchParameter": {
  "jobName": "reelbeam-nightly",
  "containerSpecGcsPath": "$BUCKET/reelbeam-$kind.json",
  "parameters": {"archive": "$ARCHIVE", "catalog": "$CATALOG", "decode-workers": "$DECODE_WORKERS"},
  "environment": {"maxWorkers": $MAX_WORKERS, "machineType": "$machine", "sdkContainerImage": "$WORKER",
    "tempLocation": "$BUCKET/tmp", "stagingLocation": "$BUCKET/staging",
    "additionalExperiments": ["no_use_multiple_sdk_containers"],
    "additionalPipelineOptions": [$([[ $kind == gpu ]] && printf '"dataflow_service_options=%s"' "${accelerator[0]}")]}}}
JSON
    )
    exec gcloud scheduler jobs create http reelbeam-nightly --project "$PROJECT" --location "$REGION" \
        --schedule "0 2 * * *" --oauth-service-account-email "$account" --http-method POST \
        --uri "https://dataflow.googleapis.com/v1b3/projects/$PROJECT/locations/$REGION/flexTemplates:launch" \
        --message-body "$body"
fi

exec gcloud dataflow flex-template run "reelbeam-$(date -u +%Y%m%d-%H%M%S)" \
    --project "$PROJECT" --region "$REGION" --template-file-gcs-location "$BUCKET/reelbeam-$kind.json" \
    --worker-machine-type "$machine" --max-workers "$MAX_WORKERS" \
    --temp-location "$BUCKET/tmp" --staging-location "$BUCKET/staging" \
    --additional-experiments no_use_multiple_sdk_containers \
    --parameters "sdk_container_image=$WORKER" \
    ${accelerator[0]:+--parameters "dataflow_service_options=${accelerator[0]}"} \
    --parameters "archive=$ARCHIVE" --parameters "catalog=$CATALOG" --parameters "decode-workers=$DECODE_WORKERS"

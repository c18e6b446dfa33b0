#!/usr/bin/env bash
# Builds and pushes the worker and launcher images and writes the Flex Template. From a checkout:
#
#   REPOSITORY=europe-docker.example/project/repository BUCKET=gs://bucket \
#   LAUNCHER=... deploy/dataflow/build.sh cpu|gpu
#
# LAUNCHER is Google's launcher base image for Python 3.11 (python311-template-launcher-base).
set -euo pipefail

kind=${1:-}
[[ $kind == cpu || $kind == gpu ]] || { echo "usage: $(basename "$0") cpu|gpu" >&2; exit 2; }
: "${REPOSITORY:?set it to the repository that images are pushed to}"
: "${BUCKET:?set it to a gs:// folder for the template}"
: "${LAUNCHER:?set it to Google\'s launcher base image for Python 3.11}"
for program in docker gcloud; do
    command -v "$program" >/dev/null || { echo "$program is missing" >&2; exit 1; }
done

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
version=$(git rev-parse --short HEAD)
worker=$REPOSITORY/reelbeam-$kind:$version
template=$REPOSITORY/reelbeam-template-$kind:$version

docker build --file "deploy/images/Dockerfile.$kind" --tag "$worker" .
docker push "$worker"
docker build --file deploy/dataflow/Dockerfile.template \
    --build-arg "LAUNCHER=$LAUNCHER" --build-arg "WORKER=$worker" --tag "$template" .
docker push "$template"
gcloud dataflow flex-template build "$BUCKET/reelbeam-$kind.json" \
    --image "$template" --sdk-language PYTHON --metadata-file deploy/dataflow/metadata.json
printf 'worker image: %s\ntemplate: %s\n' "$worker" "$BUCKET/reelbeam-$kind.json"

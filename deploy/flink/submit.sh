#!/usr/bin/env bash
# Runs a reelbeam command on the cluster that cluster.sh started:
#
#   submit.sh classify --archive /videos --catalog /catalog
#   submit.sh index --catalog /catalog
#   submit.sh regions --catalog /catalog
#
# Options after the command are passed on. Beam's options may be among them; they override those below.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=settings.sh
source "$here/settings.sh"
: "${REELBEAM:=reelbeam}"
: "${PARALLELISM:=$((TASKMANAGERS * SLOTS))}"

[[ $# -gt 0 ]] || fail "usage: $(basename "$0") classify|regions|index|train|evaluate|relabel|describe OPTIONS..."
[[ -s $JOB_SERVER_JAR ]] || fail "no job server: run $here/cluster.sh start first"
need "$REELBEAM" "install reelbeam, or activate its environment"
need "$REELBEAM-worker" "install reelbeam, or activate its environment"

command=$1
shift
exec "$REELBEAM" "$command" \
    --runner=FlinkRunner \
    --flink_master="localhost:$FLINK_PORT" \
    --flink_job_server_jar="$JOB_SERVER_JAR" \
    --job_server_java_launcher="$here/java.sh" \
    --environment_type=PROCESS \
    --environment_options="process_command=$(command -v "$REELBEAM-worker")" \
    --parallelism="$PARALLELISM" \
    "$@"

# shellcheck shell=bash
# The settings of cluster.sh and submit.sh. Environment variables of the same names override them.

# Flink 1.19 is the newest version whose job server can be made from what Maven Central serves. To use another one, such
# as Beam 2.77.0's ready server: FLINK_VERSION=2.2.1 JOB_SERVER=org.apache.beam:beam-runners-flink-2.2-job-server:2.77.0
: "${FLINK_VERSION:=1.19.3}"
: "${JOB_SERVER:=}"
: "${BEAM_JAVA_VERSION:=2.62.0}"

: "${FLINK_CACHE:=$here/../../.cache/flink}"
: "${FLINK_PORT:=8081}"
: "${FLINK_RPC_PORT:=6123}"
: "${TASKMANAGERS:=2}"
: "${SLOTS:=2}"
: "${RESTARTS:=10}"
: "${PYTHON:=python3}"

mkdir -p "$FLINK_CACHE"
FLINK_CACHE=$(cd "$FLINK_CACHE" && pwd)
export FLINK_HOME=$FLINK_CACHE/flink-$FLINK_VERSION
: "${FLINK_RUN:=$FLINK_CACHE/run-$FLINK_PORT}"
export FLINK_LOG_DIR=$FLINK_RUN/log FLINK_PID_DIR=$FLINK_RUN/pid

# shellcheck disable=SC2034 # used by both scripts
if [[ -n $JOB_SERVER ]]; then
    JOB_SERVER_JAR=$FLINK_CACHE/${JOB_SERVER//:/-}.jar
else
    JOB_SERVER_JAR=$FLINK_CACHE/flink-${FLINK_VERSION%.*}-job-server-$BEAM_JAVA_VERSION.jar
fi

# shellcheck disable=SC2034 # used by cluster.sh
OPTIONS=(
    -D "jobmanager.rpc.address=localhost"
    -D "jobmanager.rpc.port=$FLINK_RPC_PORT"
    -D "rest.port=$FLINK_PORT"
    -D "rest.bind-port=$FLINK_PORT"
    -D "jobmanager.memory.process.size=1280m"
    -D "taskmanager.memory.process.size=1536m"
    # Every job has a class loader of its own, whose classes are freed only some time after the job has ended.
    -D "taskmanager.memory.jvm-metaspace.size=512m"
    -D "taskmanager.numberOfTaskSlots=$SLOTS"
    # A job with fewer slots than the cluster has should use all machines.
    -D "cluster.evenly-spread-out-slots=true"
    # Flink notices a lost TaskManager within seconds and restarts its job on the slots that are left.
    -D "heartbeat.interval=2000"
    -D "heartbeat.timeout=12000"
    -D "restart-strategy.type=fixed-delay"
    -D "restart-strategy.fixed-delay.attempts=$RESTARTS"
    -D "restart-strategy.fixed-delay.delay=2s"
    -D "io.tmp.dirs=$FLINK_RUN/tmp"
)

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "$*"
    exit 1
}

need() {
    command -v "$1" >/dev/null || fail "$1 is missing: $2"
}

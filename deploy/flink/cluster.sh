#!/usr/bin/env bash
# Runs a real Flink cluster on this machine: one JobManager and two TaskManagers with two slots each, all on loopback.
#
#   cluster.sh setup     fetch Flink and make the job server's jar; nothing is installed outside the cache folder
#   cluster.sh start     do the setup if it is missing, then start every process that does not run
#   cluster.sh stop      end the cluster
#   cluster.sh status    show which processes run and how many slots there are
#
# settings.sh lists the settings; all have defaults.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=settings.sh
source "$here/settings.sh"

main() {
    case "${1:-}" in
        setup) setup ;;
        start) setup && start ;;
        stop) stop ;;
        status) status ;;
        *) fail "usage: $(basename "$0") setup|start|stop|status" ;;
    esac
}

setup() {
    need "$PYTHON" "Python 3.11 or newer"
    need java "a Java runtime, 11 or 17"
    fetch_flink
    make_job_server
}

fetch_flink() {
    [[ -x $FLINK_HOME/bin/jobmanager.sh ]] && return
    say "fetching Flink $FLINK_VERSION (about 300 MB)"
    local folder=$FLINK_CACHE/incoming
    rm -rf "$folder"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --target "$folder" \
        "apache-flink==$FLINK_VERSION" "apache-flink-libraries==$FLINK_VERSION" ||
        fail "cannot fetch Flink $FLINK_VERSION from the Python package index (packages apache-flink, apache-flink-libraries)"
    chmod +x "$folder"/pyflink/bin/*.sh
    rm -rf "$FLINK_HOME"
    mkdir -p "$(dirname "$FLINK_HOME")"
    mv "$folder/pyflink" "$FLINK_HOME"
    rm -rf "$folder"
}

make_job_server() {
    [[ -s $JOB_SERVER_JAR ]] && return
    need mvn "Maven, which makes the Beam job server's jar"
    say "making $(basename "$JOB_SERVER_JAR")"
    local build=$FLINK_CACHE/job-server
    rm -rf "$build"
    mkdir -p "$build"
    if [[ -n $JOB_SERVER ]]; then
        mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
            -Dartifact="$JOB_SERVER" -DoutputDirectory="$build/target" ||
            fail "Maven cannot fetch $JOB_SERVER"
    else
        cp "$here/job-server/pom.xml" "$build"
        mvn --quiet --batch-mode -f "$build/pom.xml" package ||
            fail "Maven cannot fetch the parts of Beam's Flink job server $BEAM_JAVA_VERSION"
    fi
    rm -f "$build"/target/original-*.jar # the incomplete jar that the shade plugin started from
    mv "$build"/target/*job-server*.jar "$JOB_SERVER_JAR"
    rm -rf "$build"
}

start() {
    mkdir -p "$FLINK_LOG_DIR" "$FLINK_PID_DIR"
    local second
    for ((second = 0; second < 240; second++)); do
        # Every second, because a process that is just being killed still looks alive for a moment.
        start_what_does_not_run
        [[ $(slots) -ge $((TASKMANAGERS * SLOTS)) ]] && status && return
        sleep 1
    done
    fail "the cluster did not come up in four minutes; see $FLINK_LOG_DIR"
}

start_what_does_not_run() {
    running jobmanager || as jobmanager "$FLINK_HOME/bin/jobmanager.sh" start "${OPTIONS[@]}" >/dev/null
    local n
    for ((n = 1; n <= TASKMANAGERS; n++)); do
        # The name travels to the Python workers that this TaskManager starts, and from there into the files table.
        running "tm-$n" || REELBEAM_WORKER_HOST="$(hostname)-tm-$n" as "tm-$n" "$FLINK_HOME/bin/taskmanager.sh" start \
            -D "taskmanager.resource-id=tm-$n" "${OPTIONS[@]}" >/dev/null
    done
}

stop() {
    local n
    for ((n = 1; n <= TASKMANAGERS; n++)); do end "tm-$n"; done
    end jobmanager
}

status() {
    local n
    for n in jobmanager $(seq -f "tm-%g" "$TASKMANAGERS"); do
        if running "$n"; then say "$n runs (process $(pid "$n"))"; else say "$n does not run"; fi
    done
    say "$(slots) slots at localhost:$FLINK_PORT"
}

# Each daemon gets an identity of its own, so that Flink writes its process id to a file of its own.
as() {
    local name=$1
    shift
    FLINK_IDENT_STRING="reelbeam-$name" "$@"
}

pid() {
    tail -n 1 "$FLINK_PID_DIR"/flink-reelbeam-"$1"-*.pid 2>/dev/null
}

running() {
    local id
    id=$(pid "$1") && [[ -n $id ]] && kill -0 "$id" 2>/dev/null
}

end() {
    local id tries
    if running "$1"; then
        id=$(pid "$1")
        kill "$id"
        for ((tries = 0; tries < 50; tries++)); do
            kill -0 "$id" 2>/dev/null || break
            sleep 0.2
        done
        kill -9 "$id" 2>/dev/null || true
    fi
    rm -f "$FLINK_PID_DIR"/flink-reelbeam-"$1"-*.pid
}

slots() {
    "$PYTHON" - "$FLINK_PORT" <<'PYTHON' 2>/dev/null || echo 0
import json, sys, urllib.request
with urllib.request.urlopen(f"http://localhost:{sys.argv[1]}/overview", timeout=2) as answer:
    print(json.load(answer)["slots-total"])
PYTHON
}

main "$@"

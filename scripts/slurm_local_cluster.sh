#!/usr/bin/env bash
# A SLURM cluster on this machine, to try things on: of one node, or of SHIFTLINE_NODES that share its cores. Needs root, and slurm-wlm and munge (installed by apt where that is possible).
#   bash scripts/slurm_local_cluster.sh start     configure and start munge, slurmctld and slurmd
#   bash scripts/slurm_local_cluster.sh stop      stop them
#   bash scripts/slurm_local_cluster.sh restart-controller
# Everything it writes is below SHIFTLINE_CLUSTER (/tmp/shiftline-cluster), but for munge's key and SLURM's link to its configuration.
set -euo pipefail
folder=${SHIFTLINE_CLUSTER:-/tmp/shiftline-cluster}
nodes=${SHIFTLINE_NODES:-1}
export SLURM_CONF=$folder/slurm.conf

fail() { printf 'slurm_local_cluster: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "starting a cluster needs root: run this script as root, or in a container."

install_packages() {
    command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null && return
    command -v apt-get >/dev/null || fail "SLURM is not installed: install slurm-wlm and munge (Debian's names), then run this script again."
    echo "slurm_local_cluster: installing slurm-wlm and munge with apt"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
}

configure() {
    mkdir -p "$folder/state" "$folder/spool" "$folder/log" /run/munge /var/log/munge /var/lib/munge
    [ -s /etc/munge/munge.key ] || { mkdir -p /etc/munge; head -c 1024 /dev/urandom >/etc/munge/munge.key; }
    chown -R munge: /etc/munge /run/munge /var/log/munge /var/lib/munge
    chmod 700 /etc/munge && chmod 400 /etc/munge/munge.key && chmod 755 /run/munge
    # Memory is counted by what SLURM can see of this machine, less a little.
    memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
    cat >"$SLURM_CONF" <<CONF
ClusterName=shiftline
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=16817
AuthType=auth/munge
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=2,sched_interval=2,requeue_delay=1
MpiDefault=none
ReturnToService=2
MinJobAge=3600
MaxArraySize=${SHIFTLINE_MAX_ARRAY:-1001}
KillWait=5
UnkillableStepTimeout=300
InactiveLimit=0
JobRequeue=1
$(for n in $(seq "$nodes"); do
    echo "NodeName=local$n NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((16817 + n)) CPUs=$(nproc) RealMemory=$((memory / nodes)) State=UNKNOWN"
done)
PartitionName=local Nodes=local[1-$nodes] Default=YES MaxTime=INFINITE State=UP
CONF
}

running() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

start() {
    install_packages
    configure
    pgrep -x munged >/dev/null || runuser -u munge -- /usr/sbin/munged || fail "munged does not start: see /var/log/munge."
    running "$folder/slurmctld.pid" || slurmctld
    for n in $(seq "$nodes"); do
        running "$folder/slurmd-local$n.pid" || slurmd -N "local$n"
    done
    for _ in $(seq 60); do
        states=$(sinfo -h -N -o %T 2>/dev/null || true)
        if [ -n "$states" ] && ! grep -qvE '^(idle|mixed|allocated)$' <<<"$states"; then
            echo "slurm_local_cluster: ready ($(nproc) cores). In this shell: export SLURM_CONF=$SLURM_CONF"
            return
        fi
        if grep -qE 'down|drain' <<<"$states"; then scontrol update nodename="local[1-$nodes]" state=resume 2>/dev/null || true; fi
        sleep 0.5
    done
    fail "the nodes do not become ready (${states:-no answer}): see $folder/log."
}

stop() {
    for pid in "$folder"/slurm*.pid; do
        if running "$pid"; then kill "$(cat "$pid")"; fi
        for _ in $(seq 40); do
            running "$pid" || break
            sleep 0.25
        done
    done
    echo "slurm_local_cluster: stopped"
}

case ${1:-} in
start) start ;;
stop) stop ;;
restart-controller)
    kill "$(cat "$folder/slurmctld.pid")"
    while running "$folder/slurmctld.pid"; do sleep 0.2; done
    slurmctld
    ;;
*) fail "say start, stop or restart-controller." ;;
esac

#!/usr/bin/env bash
# A SLURM cluster of one node on this machine, to try things on. Needs root, and slurm-wlm and munge (installed by apt where that is possible).
#   bash scripts/slurm_local_cluster.sh start     configure and start munge, slurmctld and slurmd
#   bash scripts/slurm_local_cluster.sh stop      stop them
#   bash scripts/slurm_local_cluster.sh restart-controller
# Everything it writes is below SHIFTLINE_CLUSTER (/tmp/shiftline-cluster), but for munge's key and SLURM's link to its configuration.
set -euo pipefail
folder=${SHIFTLINE_CLUSTER:-/tmp/shiftline-cluster}
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
    host=$(hostname -s)
    cat >"$SLURM_CONF" <<CONF
ClusterName=shiftline
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
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
InactiveLimit=0
JobRequeue=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=local Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
}

running() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

start() {
    install_packages
    configure
    pgrep -x munged >/dev/null || runuser -u munge -- /usr/sbin/munged || fail "munged does not start: see /var/log/munge."
    running "$folder/slurmctld.pid" || slurmctld
    running "$folder/slurmd.pid" || slurmd
    for _ in $(seq 60); do
        state=$(sinfo -h -o %T 2>/dev/null || true)
        case $state in
        idle | mixed | allocated) echo "slurm_local_cluster: ready ($(nproc) cores). In this shell: export SLURM_CONF=$SLURM_CONF"; return ;;
        *down* | *drain*) scontrol update nodename="$(hostname -s)" state=resume 2>/dev/null || true ;;
        esac
        sleep 0.5
    done
    fail "the node does not become ready (${state:-no answer}): see $folder/log."
}

stop() {
    for name in slurmd slurmctld; do
        if running "$folder/$name.pid"; then kill "$(cat "$folder/$name.pid")"; fi
    done
    for _ in $(seq 40); do
        running "$folder/slurmctld.pid" || running "$folder/slurmd.pid" || break
        sleep 0.25
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

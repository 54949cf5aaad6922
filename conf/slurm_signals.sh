# Sourced by each Slurm job before its task: brings Slurm's signals to ldctpipe, waits until it has saved, and tells Nextflow.
#
# The wrapper that Nextflow makes of a task ends at the first signal, before a training has saved, and Slurm kills what
# still runs then. Its exit status is what nextflow.config decides by: 75 goes on with the same, 140 with more time.
# shellcheck shell=bash

ldctpipe_told=
# Slurm sends SIGTERM to all processes of a job that it ends, and the warning before a time limit to this shell alone.
trap 'ldctpipe_told+=" TERM"' TERM
trap 'ldctpipe_told+=" USR2"' USR2

# In place of the builtin, by which the wrapper waits for its task.
wait() {
    local code=0 tries=0
    builtin wait "$1" || code=$?
    # Slurm signals one process after another: the task may have ended before this shell's own signal comes.
    ((code != 143)) || sleep 0.5
    while kill -0 "$1" 2>/dev/null || { [[ $ldctpipe_told ]] && pgrep --session 0 --exact 'ldctpipe|srun' >/dev/null; }; do
        # every five seconds: SIGTERM may have come to this shell alone, and a training that is only starting can't hear yet
        if ((tries % 10 == 1)); then
            ldctpipe_tell "${ldctpipe_told##* }"
        fi
        tries=$((tries + 1))
        sleep 0.5
    done
    builtin wait "$1" && code=0 || code=$?
    if [[ $ldctpipe_told == *TERM* && $code != 0 ]]; then
        code=75
        if [[ $ldctpipe_told == *USR2* ]]; then
            code=140 # the warning was no use
        fi
        if ldctpipe_is_requeued; then
            trap - EXIT # Nextflow would submit a second job
            exit "$code"
        fi
    fi
    return "$code"
}

# Whoever does not listen to the warning (0x800 is SIGUSR2) is left alone: it may be done before the limit.
ldctpipe_tell() {
    local process masks
    for process in $(pgrep --session 0 --exact 'ldctpipe|srun'); do
        masks=$(sed -n 's/^Sig\(Blk\|Cgt\):\s*/0x/p' "/proc/$process/status" 2>/dev/null | paste -s -d'|')
        if [[ $1 == TERM ]] || (((${masks:-0}) & 0x800)); then
            kill -s "$1" "$process" 2>/dev/null || true
        fi
    done
}

# Whether Slurm itself is going to run this job again, in the same folder. On a busy controller that may show late.
ldctpipe_is_requeued() {
    local restarts
    for _ in 1 2 3 4 5 6; do
        restarts=$(scontrol show job "$SLURM_JOB_ID" 2>/dev/null | sed -n 's/.* Restarts=\([0-9]*\).*/\1/p')
        if ((${restarts:-0} > ${SLURM_RESTART_COUNT:-0})) || grep -qs 'DUE TO JOB REQUEUE' .command.log; then
            return 0
        fi
        sleep 0.5
    done
    return 1
}

# So it did: what the task had already finished is not done twice, and what it left is not in its way.
if [[ ${SLURM_RESTART_COUNT:-0} != 0 && -f .command.run ]]; then
    if [[ -s .exitcode && $(<.exitcode) == 0 ]]; then
        exit 0
    fi
    rm -rf -- ./*
fi

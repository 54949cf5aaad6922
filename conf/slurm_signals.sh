# Sourced by each Slurm job before its task: brings Slurm's signals to ldctpipe, waits until it has saved, and tells Nextflow.
#
# The wrapper that Nextflow makes of a task ends at the first signal, before a training has saved, and Slurm kills what
# still runs then. Its exit status is what conf/base.config decides by: 75 goes on with the same, 140 with more time.
# shellcheck shell=bash

ldctpipe_told=
# Slurm sends SIGTERM to all processes of a job that it ends, and the warning before a time limit to this shell alone.
trap 'ldctpipe_told+=" TERM"' TERM
trap 'ldctpipe_told+=" USR2"' USR2

# In place of the builtin, by which the wrapper waits for its task.
wait() {
    local code=0 tries=0
    builtin wait "$1" || code=$?
    while kill -0 "$1" 2>/dev/null || { [[ $ldctpipe_told ]] && pgrep --session 0 --exact 'ldctpipe|srun' >/dev/null; }; do
        # SIGTERM may have come to this shell alone, and either signal before a program that was only starting could hear it
        if ((tries % 10 == 1)); then
            pkill --signal "${ldctpipe_told##* }" --session 0 --exact 'ldctpipe|srun' || true
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

# Whether Slurm itself is going to run this job again, in the same folder.
ldctpipe_is_requeued() {
    local restarts
    restarts=$(scontrol show job "$SLURM_JOB_ID" 2>/dev/null | sed -n 's/.* Restarts=\([0-9]*\).*/\1/p')
    ((${restarts:-0} > ${SLURM_RESTART_COUNT:-0}))
}

# So it did: what the task had already finished is not done twice, and what it left is not in its way.
if [[ ${SLURM_RESTART_COUNT:-0} != 0 && -f .command.run ]]; then
    if [[ -s .exitcode && $(<.exitcode) == 0 ]]; then
        exit 0
    fi
    rm -rf -- ./*
fi

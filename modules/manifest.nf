// What became of every series of a cohort, over all tasks and runs: the newest record of each patient counts.
process MANIFEST {
    tag 'manifest.csv'
    label 'io'
    cache false

    input:
    path plan
    path newer, stageAs: 'newer/*'
    path records, stageAs: 'results/pipeline_info/patients'

    output:
    path 'manifest.json', emit: json
    path 'manifest.csv', emit: csv
    stdout emit: said
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    """
    ldctpipe cohort manifest results . --newer newer --plan '${plan}'
    """

    stub:
    """
    echo '{"counts": {"refused": 0, "failed": 0}}' > manifest.json
    touch manifest.csv
    echo 'stub'
    """
}

// One page about all trainings of a sweep, and its figures as tables. A run that failed has no folder here.
process SWEEP_REPORT {
    tag 'sweep.html'
    label 'cpu_small'

    input:
    path plan, stageAs: 'sweep/runs/*'
    path models, stageAs: 'sweep/model/*'
    path metrics, stageAs: 'sweep/metrics/*'

    output:
    path 'sweep.{html,csv,json}', emit: pages
    stdout emit: said
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    """
    ldctpipe sweep-report sweep sweep.html
    """

    stub:
    """
    touch sweep.{html,csv,json}
    ls sweep/metrics
    """
}

// One self-contained page: what was run, the table, the curves, the slices.
process REPORT {
    tag 'report.html'
    label 'cpu_small'

    input:
    path metrics, stageAs: 'run/metrics'
    path model, stageAs: 'run/model'

    output:
    path 'report.html', emit: page
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    """
    ldctpipe report run report.html
    """

    stub:
    """
    touch report.html
    """
}

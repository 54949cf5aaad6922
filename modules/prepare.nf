// The training store: slice pairs of every patient that is not held out for the test.
process PREPARE {
    tag "${cases.size()} patients"
    label 'cpu'

    input:
    path sheet
    path cases, stageAs: 'cases/*', arity: '1..*'

    output:
    path 'store', emit: store
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    """
    ldctpipe prepare ${sheet} store --cases cases --threads ${task.cpus}
    """

    stub:
    """
    mkdir store
    touch store/store.json
    """
}

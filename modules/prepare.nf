// The training store: slice pairs of every patient that is not held out for the test.
process PREPARE {
    tag "${cases.size()} patients"
    label 'cpu'

    input:
    path sheet
    path cases, stageAs: 'cases/*', arity: '1..*'
    val dose_range
    val seed

    output:
    path 'store', emit: store
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    def doses = dose_range ? "--dose-range ${dose_range} --seed ${seed}" : ''
    """
    ldctpipe prepare ${sheet} store --cases cases --threads ${task.cpus} ${doses}
    """

    stub:
    """
    mkdir store
    touch store/store.json
    """
}

// Image quality of the held-out patients under one protocol: slices, patients, cohort.
process EVALUATE {
    tag "${protocol}"
    label 'cpu_small'

    input:
    path denoised, stageAs: 'denoised/*', arity: '1..*'
    path cases, stageAs: 'cases/*', arity: '1..*'
    val protocol

    output:
    path 'metrics', emit: metrics
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    """
    ldctpipe evaluate denoised cases metrics --low-dose cases --protocol ${protocol}
    """

    stub:
    """
    mkdir metrics
    touch metrics/{summary.json,slices.csv,slices.parquet,samples.npz}
    echo 'stub' > metrics/table.txt
    """
}

// Image quality of the held-out patients under one protocol: slices, patients, cohort.
include { inside } from '../workflows/staging.nf'

process EVALUATE {
    tag "${meta.id}"
    label 'cpu_small'

    input:
    tuple val(meta), path(denoised, stageAs: 'denoised/*', arity: '1..*')
    path cases, stageAs: 'cases/*', arity: '1..*'
    val protocol
    path feature_weights, stageAs: 'feature_weights/*'

    output:
    tuple val(meta), path("${meta.folder}"), emit: metrics
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    def distances = feature_weights ? "--feature-weights ${inside(feature_weights)} --device cpu --threads ${task.cpus}" : ''
    """
    ldctpipe evaluate denoised cases '${meta.folder}' --low-dose cases --protocol ${protocol} ${distances}
    """

    stub:
    """
    mkdir '${meta.folder}'
    touch '${meta.folder}'/{summary.json,slices.csv,slices.parquet,samples.npz}
    echo 'stub' > '${meta.folder}/table.txt'
    """
}

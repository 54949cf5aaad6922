// The reduced-dose partner of a full-dose series.
include { inside } from '../workflows/staging.nf'

process SIMULATE {
    tag "${patient}"
    label 'cpu'

    input:
    tuple val(patient), path(full_dose, stageAs: 'full_dose/*')
    val dose
    val seed

    output:
    tuple val(patient), path('low_dose'), emit: low_dose
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    """
    ldctpipe simulate ${inside(full_dose)} low_dose --dose ${dose} --seed ${seed} --threads ${task.cpus}
    """

    stub:
    """
    mkdir low_dose
    touch low_dose/0001.dcm
    """
}

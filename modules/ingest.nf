// Both doses of one patient as cases: HU volume, geometry, acquisition, and what was skipped.
include { inside } from '../workflows/staging.nf'

process INGEST {
    tag "${patient}"
    label 'io'

    input:
    tuple val(patient), path(low_dose, stageAs: 'dicom/low_dose/*'), path(full_dose, stageAs: 'dicom/full_dose/*')

    output:
    tuple val(patient), path("${patient}"), emit: cases
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    """
    ldctpipe ingest ${inside(low_dose)} '${patient}/low_dose'
    ldctpipe ingest ${inside(full_dose)} '${patient}/full_dose'
    """

    stub:
    """
    mkdir -p '${patient}/low_dose/0123456789ab' '${patient}/full_dose/0123456789ab'
    touch '${patient}'/{low,full}_dose/{ingest.json,0123456789ab/case.json,0123456789ab/volume.nii}
    """
}

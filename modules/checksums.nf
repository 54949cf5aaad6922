// What tells this input from another: files, bytes and one SHA-256 of a patient's scans, for the record of the run.
include { inside } from '../workflows/staging.nf'

process CHECKSUMS {
    tag "${patient}"
    label 'io'

    input:
    tuple val(patient), path(low_dose, stageAs: 'low_dose/*'), path(full_dose, stageAs: 'full_dose/*')

    output:
    path "inputs/${patient}.json", emit: summary
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    def low = low_dose ? "--low-dose ${inside(low_dose)}" : ''
    def full = full_dose ? "--full-dose ${inside(full_dose)}" : ''
    """
    ldctpipe checksums 'inputs/${patient}.json' --patient '${patient}' ${low} ${full}
    """

    stub:
    """
    mkdir inputs
    echo '{"patient": "${patient}", "scans": {}}' > 'inputs/${patient}.json'
    """
}

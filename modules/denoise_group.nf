// A group of patients with one model, loaded once. Where the folder of results can be reached, each series goes there as
// soon as it is done (`mark` is a file of it), and only the records stay here; else all is published when the task ends.
// Never cached: PLAN leaves out what is done, and what was removed from the results since is to be done again.
include { inside } from '../workflows/staging.nf'
include { denoisingOptions } from './plan.nf'

process DENOISE_GROUP {
    tag "${patients.size()} from ${patients.first()}"
    label 'gpu'
    cache false

    input:
    tuple val(patients), path(scans, stageAs: 'scans/?/*', arity: '1..*')
    path mark, stageAs: 'results-mark'
    path model, stageAs: 'model/*'
    path deidentification_key, stageAs: 'key/*'
    val denoising

    output:
    path 'denoised/*', emit: series, optional: true
    path 'pipeline_info/patients/*.json', emit: records
    stdout emit: said
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    """
    ldctpipe cohort denoise scans . --patients '${patients.join(',')}' --results results-mark --model ${inside(model)} \\
        --device ${denoising.device} --threads ${task.cpus} ${denoisingOptions(denoising, deidentification_key)}
    """

    stub:
    """
    mkdir -p pipeline_info/patients
    for patient in ${patients.join(' ')}; do
        mkdir -p denoised/\$patient
        touch denoised/\$patient/{0123abcd-0001.dcm,manifest.json} pipeline_info/patients/\$patient.json
    done
    """
}

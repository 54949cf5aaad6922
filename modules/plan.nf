// Which patients are left to do, in groups of a task each. Looks at what is in the folder of results, so it always runs.
include { shellQuoted } from '../workflows/quoting.nf'
include { inside } from '../workflows/staging.nf'

process PLAN {
    tag "${sheet.name}"
    label 'io'
    cache false

    input:
    path sheet
    path scans, stageAs: 'scans/?/*', arity: '1..*'
    path records, stageAs: 'records'
    path mark, stageAs: 'results-mark'
    path model, stageAs: 'model/*'
    path deidentification_key, stageAs: 'key/*'
    val denoising
    val task_slices

    output:
    path 'plan.csv', emit: plan
    path 'mapping.csv', emit: mapping, optional: true
    stdout emit: said
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    def mapping = denoising.mapping ? '--mapping mapping.csv' : ''
    """
    ldctpipe cohort plan ${sheet} plan.csv --staged scans --records records --results results-mark \\
        --model ${inside(model)} --task-slices ${task_slices} --threads ${task.cpus} ${mapping} ${denoisingOptions(denoising, deidentification_key)}
    """

    stub:
    """
    awk -F, 'BEGIN { print "group,patient,series,slices,bytes,number" }
        NR % 2 == 0 { group = \$1 } NR > 1 { print group "," \$1 ",1,3,1000," NR - 1 }' ${sheet} > plan.csv
    """
}

// The options that `ldctpipe cohort plan` and `ldctpipe cohort denoise` share.
def denoisingOptions(denoising, deidentification_key) {
    def wanted = [
        denoising.blend == null ? '' : "--blend ${denoising.blend}",
        denoising.compress ? "--compress ${denoising.compress}" : '',
        denoising.nifti ? '--nifti' : '',
        denoising.keep_private ? '--keep-private' : '',
        denoising.push ? "--push ${shellQuoted(denoising.push)}" : '',
        deidentification_key ? "--deidentify --deidentification-key ${inside(deidentification_key)}" : '',
    ]
    return wanted.findAll().join(' ')
}

// One patient's scan as derived DICOM, with a manifest; no folder where nothing is a series. A NIfTI file becomes
// one of the same name.
include { shellQuoted } from '../workflows/quoting.nf'
include { inside } from '../workflows/staging.nf'

process DENOISE {
    tag "${meta.id}"
    label 'gpu'

    input:
    tuple val(meta), path(scan, stageAs: 'scan/*'), path(model, stageAs: 'model/*')
    path deidentification_key, stageAs: 'key/*'
    val denoising

    output:
    tuple val(meta), path("denoised/${meta.patient}"), emit: series, optional: true
    stdout emit: said
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    def wanted = [
        denoising.blend == null ? '' : "--blend ${denoising.blend}",
        denoising.compress ? "--compress ${denoising.compress}" : '',
        denoising.nifti ? '--nifti' : '',
        denoising.keep_private ? '--keep-private' : '',
        denoising.push ? "--push ${shellQuoted(denoising.push)}" : '',
        deidentification_key ? "--deidentify --deidentification-key ${inside(deidentification_key)}" : '',
        denoising.keep_going ? '--keep-going' : '',
    ]
    def options = wanted.findAll().join(' ')
    """
    ldctpipe denoise ${inside(scan)} 'denoised/${meta.patient}' --model ${inside(model)} --device ${denoising.device} --threads ${task.cpus} ${options} \\
        | sed 's/^/${meta.patient}: /'
    """

    stub:
    """
    mkdir -p 'denoised/${meta.patient}'
    touch 'denoised/${meta.patient}'/{0123abcd-0001.dcm,manifest.json}
    """
}

// One patient's scan as derived DICOM, with a manifest; no folder where every series was refused. A NIfTI file becomes
// one of the same name: `scan` holds the scan alone, under its own name, which only the shell has to know.
process DENOISE {
    tag "${meta.id}"
    label 'gpu'

    input:
    tuple val(meta), path(scan, stageAs: 'scan/*'), path(model)
    path deidentification_key
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
        denoising.push ? "--push '${denoising.push}'" : '',
        deidentification_key ? "--deidentify --deidentification-key '${deidentification_key}'" : '',
        denoising.keep_going ? '--keep-going' : '',
    ]
    def options = wanted.findAll().join(' ')
    """
    ldctpipe denoise scan/* 'denoised/${meta.patient}' --model '${model}' --device ${denoising.device} --threads ${task.cpus} ${options} \\
        | sed 's/^/${meta.patient}: /'
    """

    stub:
    """
    mkdir -p 'denoised/${meta.patient}'
    touch 'denoised/${meta.patient}'/{0123abcd-0001.dcm,manifest.json}
    """
}

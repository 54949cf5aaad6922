// One patient's scan as derived DICOM, with a manifest; no folder where every series was refused.
process DENOISE {
    tag "${patient}"
    label 'gpu'

    input:
    tuple val(patient), path(scan, stageAs: 'dicom')
    path model
    val denoising

    output:
    tuple val(patient), path("denoised/${patient}"), emit: series, optional: true
    stdout emit: said
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    def mixing = denoising.blend == null ? '' : "--blend ${denoising.blend}"
    def refusals = denoising.keep_going ? '--keep-going' : ''
    """
    ldctpipe denoise dicom 'denoised/${patient}' --model '${model}' --device ${denoising.device} --threads ${task.cpus} ${mixing} ${refusals} \\
        | sed 's/^/${patient}: /'
    """

    stub:
    """
    mkdir -p 'denoised/${patient}'
    touch 'denoised/${patient}'/{0123abcd-0001.dcm,manifest.json}
    """
}

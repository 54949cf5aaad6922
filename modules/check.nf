// Ends the run as failed, with the counts, when all that could be done is done and published but some series were not.
process CHECK {
    tag 'manifest.json'
    label 'io'

    input:
    path manifest

    output:
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    """
    ldctpipe cohort check '${manifest}'
    """

    stub:
    """
    """
}

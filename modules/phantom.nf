// A simulated paired cohort with known truth, in the AAPM-Mayo folder layout.
process PHANTOM {
    tag "${patients} patients"
    label 'cpu'

    input:
    val patients
    val slices
    val dose
    val seed

    output:
    path 'cohort', emit: cohort
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    """
    ldctpipe phantom cohort --patients ${patients} --slices ${slices} --dose ${dose} --seed ${seed}
    """

    stub:
    """
    for patient in \$(seq -f 'L%03g' ${patients}); do
        for dose in full quarter; do
            mkdir -p cohort/\${dose}_3mm/\$patient/\${dose}_3mm
            touch cohort/\${dose}_3mm/\$patient/\${dose}_3mm/\$patient.IMA
        done
    done
    """
}

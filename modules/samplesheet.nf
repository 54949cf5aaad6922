// A checked sheet with absolute paths, from a cohort folder or from the user's own sheet.
include { inside } from '../workflows/staging.nf'

process SAMPLESHEET {
    tag 'samplesheet.csv'
    label 'io'

    input:
    path root, stageAs: 'input/*'
    val test_patients
    val every_entry // whether folders in which no scan is recognized have a row, too

    output:
    path 'samplesheet.csv', emit: sheet
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    def test = test_patients ? "--test-patients '${test_patients}'" : ''
    """
    ldctpipe samplesheet ${inside(root)} samplesheet.csv ${test} ${every_entry ? '--every-entry' : ''}
    """

    stub:
    """
    echo 'patient,low_dose,full_dose,split' > samplesheet.csv
    echo "L001,,\\"\$PWD/input\\",train" >> samplesheet.csv
    echo "L002,\\"\$PWD/input\\",\\"\$PWD/input\\",train" >> samplesheet.csv
    echo "L003,\\"\$PWD/input\\",\\"\$PWD/input\\",test" >> samplesheet.csv
    """
}

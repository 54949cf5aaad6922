// A checked sheet with absolute paths, from a cohort folder or from the user's own sheet.
process SAMPLESHEET {
    tag 'samplesheet.csv'
    label 'io'

    input:
    path root, stageAs: 'input/*'
    val test_patients

    output:
    path 'samplesheet.csv', emit: sheet
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    def test = test_patients ? "--test-patients '${test_patients}'" : ''
    """
    ldctpipe samplesheet input/* samplesheet.csv ${test}
    """

    stub:
    """
    echo 'patient,low_dose,full_dose,split' > samplesheet.csv
    echo "L001,,\$PWD/${root},train" >> samplesheet.csv
    echo "L002,\$PWD/${root},\$PWD/${root},train" >> samplesheet.csv
    echo "L003,\$PWD/${root},\$PWD/${root},test" >> samplesheet.csv
    """
}

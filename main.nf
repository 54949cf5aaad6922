#!/usr/bin/env nextflow
// ldctpipe: from raw low-dose CT to a trained denoiser, denoised DICOM and a report.

include { checkedParameters ; parameterHelp ; readSchema } from './workflows/parameters.nf'
include { checkPlace } from './workflows/places.nf'
include { tellFailure ; writeRunRecord } from './workflows/record.nf'
include { DENOISE_COHORT } from './workflows/denoise_cohort.nf'
include { TRAIN_AND_REPORT } from './workflows/train_and_report.nf'

workflow {
    def schema = readSchema("${projectDir}/nextflow_schema.json")

    if (params.help) {
        println(parameterHelp(schema))
    }
    else {
        def settings = checkedParameters(params, schema)
        checkPlace(settings)
        if (settings.workflow == 'denoise') {
            DENOISE_COHORT(settings)
        }
        else {
            TRAIN_AND_REPORT(settings)
        }

        workflow.onComplete {
            writeRunRecord(settings)
            tellFailure(settings.outdir)
        }
    }
}

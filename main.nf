#!/usr/bin/env nextflow
// ldctpipe: from raw low-dose CT to a trained denoiser, denoised DICOM and a report.

include { checkedParameters ; parameterHelp ; readSchema } from './workflows/parameters.nf'
include { completeRecordAtExit ; tellFailure ; writeRunRecord } from './workflows/record.nf'
include { checkPlace } from './workflows/places.nf'
include { checkSpace } from './workflows/space.nf'
include { checkFolders } from './workflows/staging.nf'
include { DENOISE_COHORT } from './workflows/denoise_cohort.nf'
include { SWEEP_RECIPE } from './workflows/sweep_recipe.nf'
include { TRAIN_AND_REPORT } from './workflows/train_and_report.nf'

workflow {
    def schema = readSchema("${projectDir}/nextflow_schema.json")

    if (params.help) {
        println(parameterHelp(schema))
    }
    else {
        checkFolders()
        def settings = checkedParameters(params, schema)
        checkPlace(settings)
        checkSpace(settings)
        if (settings.workflow == 'denoise') {
            DENOISE_COHORT(settings)
        }
        else if (settings.workflow == 'sweep') {
            SWEEP_RECIPE(settings)
        }
        else {
            TRAIN_AND_REPORT(settings)
        }

        workflow.onComplete {
            writeRunRecord(settings)
            tellFailure(settings.outdir)
            completeRecordAtExit(settings)
        }
    }
}

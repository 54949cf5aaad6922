// Raw DICOM to report: every patient is ingested, the held-out ones are denoised and judged.

include { DENOISE } from '../modules/denoise.nf'
include { EVALUATE } from '../modules/evaluate.nf'
include { RECIPE } from '../modules/recipe.nf'
include { REPORT } from '../modules/report.nf'
include { TRAIN } from '../modules/train.nf'
include { PREPARE_COHORT } from './prepare_cohort.nf'
include { recordVersions } from './record.nf'
include { stagedFile } from './staging.nf'
include { checkpointFolder } from './training.nf'

workflow TRAIN_AND_REPORT {
    take:
    settings // map of checked parameters

    main:
    def training = settings.subMap('recipe', 'set', 'iterations', 'no_pretrained', 'checkpoint_every', 'seed', 'device', 'devices')
    def weights = stagedFile(settings.backbone_weights)
    def perceptual = stagedFile(settings.perceptual_weights)
    def init = stagedFile(settings.init)
    RECIPE(settings.recipe, settings.set)
    PREPARE_COHORT(settings, RECIPE.out.recipe)

    // [[id: wgan-gp-effnetv2, folder: model], store, training, folder for checkpoints, bundle to start from or []]
    def trainings = PREPARE_COHORT.out.store.map { store ->
        def checkpoints = checkpointFolder(store, [weights, perceptual, init], training)
        [[id: settings.recipe, folder: 'model'], store, training, checkpoints, init]
    }
    TRAIN(trainings, weights, perceptual)

    // the bundle
    def model = TRAIN.out.model.map { _meta, folder -> folder }

    // [[id: L003, patient: L003], low-dose folder, bundle]
    def scans = PREPARE_COHORT.out.test_scans.combine(model).map { patient, low_dose, bundle ->
        [[id: patient, patient: patient], low_dose, bundle]
    }
    DENOISE(scans, [], settings.subMap('blend', 'compress', 'nifti', 'keep_private', 'device'))

    // [[id: mayo-soft, folder: metrics], the folders of all held-out patients]
    def denoised = DENOISE.out.series
        .map { _meta, folder -> folder }
        .collect()
        .map { folders -> [[id: settings.protocol, folder: 'metrics'], folders] }
    def features = stagedFile(settings.feature_weights)
    EVALUATE(denoised, PREPARE_COHORT.out.test_cases, settings.protocol, features)

    // the folder of figures
    def metrics = EVALUATE.out.metrics.map { _meta, folder -> folder }
    REPORT(metrics, model)

    // the table on the terminal once the page is there
    REPORT.out.page.combine(metrics).subscribe { _page, folder ->
        println("\n${folder.resolve('table.txt').text.trim()}\n\nReport: ${settings.outdir}/report.html")
    }

    recordVersions(
        settings,
        PREPARE_COHORT.out.versions.mix(
            RECIPE.out.versions,
            TRAIN.out.versions,
            DENOISE.out.versions,
            EVALUATE.out.versions,
            REPORT.out.versions,
        ),
    )
}

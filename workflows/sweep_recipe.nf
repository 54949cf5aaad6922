// One recipe trained at every point of a sweep, with several seeds: the cohort is prepared once, the table made once.

include { DENOISE } from '../modules/denoise.nf'
include { EVALUATE } from '../modules/evaluate.nf'
include { SWEEP } from '../modules/sweep.nf'
include { SWEEP_REPORT } from '../modules/sweep_report.nf'
include { TRAIN ; TRAIN as TRAIN_GROWN } from '../modules/train.nf'
include { shippedRecipes ; sweepFile } from './parameters.nf'
include { PREPARE_COHORT } from './prepare_cohort.nf'
include { recordVersions } from './record.nf'
include { staged ; stagedFile } from './staging.nf'
include { rowsOf } from './tables.nf'
include { checkpointFolder } from './training.nf'

workflow SWEEP_RECIPE {
    take:
    settings // map of checked parameters

    main:
    // as one of the changes to the recipe, so that a sweep that varies the length is told of the contradiction
    def length = settings.iterations ? ["training.iterations=${settings.iterations}".toString()] : []
    def planned = settings.subMap('recipe', 'repeats', 'seed', 'no_pretrained', 'sweep_small') + [set: settings.set + length]
    SWEEP(staged(sweepFile(settings.sweep)), planned, shippedRecipes().toString().md5())
    PREPARE_COHORT(settings, SWEEP.out.table)

    // [id: gp-10.seed-3, recipe: wgan-gp-effnetv2, seed: 3, overrides: [algorithm.gradient_penalty=10.0], init: '']
    def runs = SWEEP.out.table
        .flatMap { table -> rowsOf(table) }
        .filter { row -> !row.same_as }
        .map { row -> row.subMap('id', 'recipe', 'init') + [seed: row.seed.toInteger(), overrides: row.overrides.tokenize(';')] }
        .branch { run ->
            grown: run.init
            first: true
        }

    // [[id: gp-10.seed-3, folder: gp-10.seed-3], store, training, folder for checkpoints, bundle to start from or []]; only
    // what makes a training another one is in it, so that further repeats and points leave those that are done alone
    def weights = stagedFile(settings.backbone_weights)
    def perceptual = stagedFile(settings.perceptual_weights)
    def init = stagedFile(settings.init)
    def common = settings.subMap('no_pretrained', 'checkpoint_every', 'device', 'devices')
    def files = [weights, perceptual]
    def trainings = runs.first.combine(PREPARE_COHORT.out.store).map { run, store -> trainingOf(run, store, init, files, common) }
    TRAIN(trainings, weights, perceptual)

    // the same for the runs that start from one of those, each once that one is there
    def grown = runs.grown
        .map { run -> [run.init, run] }
        .combine(TRAIN.out.model.map { meta, bundle -> [meta.id, bundle] }, by: 0)
        .combine(PREPARE_COHORT.out.store)
        .map { _ancestor, run, bundle, store -> trainingOf(run, store, bundle, files, common) }
    TRAIN_GROWN(grown, weights, perceptual)

    // [[id: gp-10.seed-3, folder: gp-10.seed-3], bundle]
    def trained = TRAIN.out.model.mix(TRAIN_GROWN.out.model)

    // [[id: gp-10.seed-3 L003, run: gp-10.seed-3, patient: L003], low-dose folder, bundle]
    def scans = trained.combine(PREPARE_COHORT.out.test_scans).map { run, bundle, patient, low_dose ->
        [[id: "${run.id} ${patient}".toString(), run: run.id, patient: patient], low_dose, bundle]
    }
    DENOISE(scans, [], settings.subMap('blend', 'device'))

    // [[id: gp-10.seed-3, folder: gp-10.seed-3], the folders of all held-out patients]; a run that lacks one is left out
    def patients = PREPARE_COHORT.out.test_scans.count()
    def denoised = DENOISE.out.series
        .combine(patients)
        .map { meta, folder, number -> [groupKey(meta.run, number), folder] }
        .groupTuple()
        .map { run, folders -> [[id: run.toString(), folder: run.toString()], folders] }
    def features = stagedFile(settings.feature_weights)
    EVALUATE(denoised, PREPARE_COHORT.out.test_cases, settings.protocol, features)

    // the folders of all runs that came so far, each under its run's name
    def models = trained.map { _meta, folder -> folder }.collect().ifEmpty([])
    def metrics = EVALUATE.out.metrics.map { _meta, folder -> folder }.collect().ifEmpty([])
    SWEEP_REPORT(SWEEP.out.plan, models, metrics)

    // the tables on the terminal
    SWEEP_REPORT.out.said.subscribe { said -> println("\n${said.trim()}\n\nReport: ${settings.outdir}/sweep.html") }

    recordVersions(
        settings,
        PREPARE_COHORT.out.versions.mix(
            SWEEP.out.versions,
            TRAIN.out.versions,
            TRAIN_GROWN.out.versions,
            DENOISE.out.versions,
            EVALUATE.out.versions,
            SWEEP_REPORT.out.versions,
        ),
    )
}

// what TRAIN takes for one planned run, in a store and from a bundle or []
def trainingOf(planned, prepared, start, weightFiles, alike) {
    def training = alike + [recipe: planned.recipe, set: planned.overrides, seed: planned.seed]
    def checkpoints = checkpointFolder(prepared, weightFiles + [start], training)
    return [[id: planned.id, folder: planned.id], prepared, training, checkpoints, start]
}

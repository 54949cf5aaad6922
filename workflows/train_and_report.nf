// Raw DICOM to report: every patient is ingested, the held-out ones are denoised and judged.

include { CHECKSUMS } from '../modules/checksums.nf'
include { DENOISE } from '../modules/denoise.nf'
include { EVALUATE } from '../modules/evaluate.nf'
include { INGEST } from '../modules/ingest.nf'
include { PHANTOM } from '../modules/phantom.nf'
include { PREPARE } from '../modules/prepare.nf'
include { RECIPE } from '../modules/recipe.nf'
include { REPORT } from '../modules/report.nf'
include { SAMPLESHEET } from '../modules/samplesheet.nf'
include { SIMULATE } from '../modules/simulate.nf'
include { TRAIN } from '../modules/train.nf'
include { shippedRecipes } from './parameters.nf'
include { heldOutPatients ; inputScans ; patientRows ; recordVersions } from './record.nf'

workflow TRAIN_AND_REPORT {
    take:
    settings // map of checked parameters

    main:
    RECIPE(settings.recipe, settings.set)

    // cohort folder or samplesheet, once the recipe is known to be right
    def root = channel.empty()
    def versions = RECIPE.out.versions
    if (settings.input) {
        root = RECIPE.out.recipe.map { _recipe -> file(settings.input) }
    }
    else {
        def patients = RECIPE.out.recipe.map { _recipe -> settings.phantom_patients }
        PHANTOM(patients, settings.phantom_slices, settings.dose, settings.seed)
        root = PHANTOM.out.cohort
        versions = versions.mix(PHANTOM.out.versions)
    }
    SAMPLESHEET(root, settings.test_patients ?: '')

    // [patient: L001, split: train, low_dose: folder or null, full_dose: folder]
    def rows = patientRows(SAMPLESHEET.out.sheet).branch { row ->
        paired: row.low_dose
        full_dose_only: true
    }

    // [L001, low-dose folder or nothing, full-dose folder], where they came from outside
    if (settings.input) {
        CHECKSUMS(inputScans(SAMPLESHEET.out.sheet))
        versions = versions.mix(CHECKSUMS.out.versions)
    }

    // [L001, full-dose folder] -> [L001, low-dose folder]
    def full_dose_only = rows.full_dose_only.map { row -> [row.patient, row.full_dose] }
    SIMULATE(full_dose_only, settings.dose, settings.seed)

    // [L001, low-dose folder, full-dose folder]
    def scans = rows.paired
        .map { row -> [row.patient, row.low_dose, row.full_dose] }
        .mix(SIMULATE.out.low_dose.join(full_dose_only))
    INGEST(scans)

    // [L001, folder L001 of cases] -> the folders of all patients at once
    PREPARE(SAMPLESHEET.out.sheet, INGEST.out.cases.map { _patient, folder -> folder }.collect())

    def training = settings.subMap('recipe', 'set', 'iterations', 'no_pretrained', 'checkpoint_every', 'seed', 'device')
    def weights = settings.backbone_weights ? file(settings.backbone_weights) : []
    // in the work folder, which containers and cluster nodes see too; one folder for each training, and so another one
    // (and another training) when a shipped recipe was edited
    def checkpoints = PREPARE.out.store.map { store ->
        "${workflow.workDir}/checkpoints/${[store, weights, training, shippedRecipes()].toString().md5()}"
    }
    TRAIN(PREPARE.out.store, weights, training, checkpoints)

    // [L003]; where the sheet's own task failed there is none to look at, and nothing to say of it
    def held_out = SAMPLESHEET.out.sheet
        .flatMap { sheet -> heldOutPatients(sheet) ?: error("no patient of the samplesheet is held out; name at least one with --test_patients.") }
        .map { patient -> [patient] }

    // [L003, low-dose folder]
    def test_scans = held_out.join(scans).map { patient, low_dose, _full_dose -> [patient, low_dose] }
    DENOISE(test_scans, TRAIN.out.model, [], settings.subMap('blend', 'compress', 'nifti', 'keep_private', 'device'))

    // the folders of all held-out patients at once
    def denoised = DENOISE.out.series.map { _patient, folder -> folder }.collect()
    def test_cases = held_out.join(INGEST.out.cases).map { _patient, folder -> folder }.collect()
    EVALUATE(denoised, test_cases, settings.protocol)
    REPORT(EVALUATE.out.metrics, TRAIN.out.model)

    // the table on the terminal once the page is there
    REPORT.out.page.combine(EVALUATE.out.metrics).subscribe { _page, metrics ->
        println("\n${metrics.resolve('table.txt').text.trim()}\n\nReport: ${settings.outdir}/report.html")
    }

    recordVersions(
        settings,
        versions.mix(
            SAMPLESHEET.out.versions,
            SIMULATE.out.versions,
            INGEST.out.versions,
            PREPARE.out.versions,
            TRAIN.out.versions,
            DENOISE.out.versions,
            EVALUATE.out.versions,
            REPORT.out.versions,
        ),
    )
}

// What every training starts from: both doses of each patient as cases, the training store, the patients held out.

include { CHECKSUMS } from '../modules/checksums.nf'
include { INGEST } from '../modules/ingest.nf'
include { PHANTOM } from '../modules/phantom.nf'
include { PREPARE } from '../modules/prepare.nf'
include { SAMPLESHEET } from '../modules/samplesheet.nf'
include { SIMULATE } from '../modules/simulate.nf'
include { heldOutPatients ; inputScans ; patientRows } from './record.nf'
include { stagedFile } from './staging.nf'

workflow PREPARE_COHORT {
    take:
    settings // map of checked parameters
    checked // one element, of any kind, once what is to be trained is known to be right

    main:
    // cohort folder or samplesheet
    def root = channel.empty()
    def other_versions = channel.empty()
    if (settings.input) {
        root = checked.map { _element -> stagedFile(settings.input) }
    }
    else {
        PHANTOM(checked.map { _element -> settings.phantom_patients }, settings.phantom_slices, settings.dose, settings.seed)
        root = PHANTOM.out.cohort
        other_versions = PHANTOM.out.versions
    }
    SAMPLESHEET(root, settings.test_patients ?: '', false)

    // [patient: L001, split: train, low_dose: folder or null, full_dose: folder]
    def rows = patientRows(SAMPLESHEET.out.sheet).branch { row ->
        paired: row.low_dose
        full_dose_only: true
    }

    // [L001, low-dose folder or nothing, full-dose folder], where they came from outside
    if (settings.input) {
        CHECKSUMS(inputScans(SAMPLESHEET.out.sheet))
        other_versions = CHECKSUMS.out.versions
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
    PREPARE(SAMPLESHEET.out.sheet, INGEST.out.cases.map { _patient, folder -> folder }.collect(), settings.dose_range ?: '', settings.seed)

    // [L003]; where the sheet's own task failed there is none to look at, and nothing to say of it
    def held_out = SAMPLESHEET.out.sheet
        .flatMap { sheet -> heldOutPatients(sheet) ?: error("no patient of the samplesheet is held out; name at least one with --test_patients.") }
        .map { patient -> [patient] }

    emit:
    store = PREPARE.out.store // the training store
    test_scans = held_out.join(scans).map { patient, low_dose, _full_dose -> [patient, low_dose] } // [L003, low-dose folder]
    test_cases = held_out.join(INGEST.out.cases).map { _patient, folder -> folder }.collect() // all of them at once
    versions = other_versions.mix(
        SAMPLESHEET.out.versions,
        SIMULATE.out.versions,
        INGEST.out.versions,
        PREPARE.out.versions,
    ) // [process, program and version]
}

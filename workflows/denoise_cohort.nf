// A folder of DICOM and a denoiser bundle in, derived series out; nothing is trained.

include { CHECK } from '../modules/check.nf'
include { DENOISE_GROUP } from '../modules/denoise_group.nf'
include { MANIFEST } from '../modules/manifest.nf'
include { PLAN } from '../modules/plan.nf'
include { SAMPLESHEET } from '../modules/samplesheet.nf'
include { addToMapping } from './mapping.nf'
include { patientRows ; recordVersions } from './record.nf'
include { oneLine ; refuse } from './refusal.nf'
include { hasPlainName ; pathOf ; stagedFile } from './staging.nf'
include { rowsOf } from './tables.nf'

workflow DENOISE_COHORT {
    take:
    settings // map of checked parameters

    main:
    SAMPLESHEET(stagedFile(settings.input), '', true)

    def results = resultsFolder(settings.outdir)
    def model = stagedFile(settings.model)
    def key = stagedFile(settings.deidentification_key)
    def denoising = settings.subMap('blend', 'compress', 'nifti', 'keep_private', 'push', 'device')
    denoising.mapping = settings.deidentification_mapping != null

    // [patient, folder]: the low dose where the sheet tells doses apart, else the patient's only scan
    def scans = patientRows(SAMPLESHEET.out.sheet).map { row -> [row.patient, row.low_dose ?: row.full_dose] }
    // the folders of all patients at once, in the order of the sheet
    def folders = scans.map { _patient, folder -> folder }.collect()
    PLAN(SAMPLESHEET.out.sheet, folders, results.records, results.mark, model, key, denoising, settings.task_slices)

    if (settings.deidentification_mapping) {
        PLAN.out.mapping.subscribe { mapping -> addToMapping(pathOf(settings.deidentification_mapping), mapping) }
    }

    // [[L001, L002], [folder, folder]]: the patients of a task, as results call them, and their scans
    def all_folders = folders.map { every -> [every] }
    def groups = PLAN.out.plan
        .flatMap { plan -> rowsOf(plan) }
        .map { row -> [row.group, row.patient, row.number as int] }
        .groupTuple()
        .combine(all_folders)
        .map { _group, patients, numbers, every -> [patients, numbers.collect { number -> every[number - 1] }] }
    DENOISE_GROUP(groups, results.mark, model, key, denoising)

    // the records of all tasks at once; a task that failed has none, or left some in the folder of results
    def records = DENOISE_GROUP.out.records.flatten().collect().ifEmpty([])
    MANIFEST(PLAN.out.plan, records, records.map { _all -> results.records })

    // why series and files were left out, and the counts
    def left_out = DENOISE_GROUP.out.said.flatMap { said -> said.readLines().collect { line -> oneLine(line) } }.toSortedList()
    PLAN.out.said.combine(left_out.map { lines -> [lines] }).combine(MANIFEST.out.said).subscribe { planned, lines, counted ->
        println("\n${(lines + [planned.trim(), oneLine("${counted.trim()}: ${settings.outdir}/manifest.csv")]).join('\n')}")
    }
    CHECK(MANIFEST.out.json.filter { manifest -> !settings.keep_going && hasFailures(manifest) })

    recordVersions(settings, SAMPLESHEET.out.versions.mix(PLAN.out.versions, DENOISE_GROUP.out.versions, MANIFEST.out.versions))
}

// The records that earlier runs left in the folder of results, and the file by which tasks find that folder: a staged
// link leads there wherever they share a file system with it, in containers too, and a copy of it leads nowhere.
def resultsFolder(outdir) {
    def records = pathOf("${outdir}/pipeline_info/patients")
    def mark = pathOf("${outdir}/.ldctpipe-results")
    records.mkdirs()
    if (!hasPlainName(records)) {
        refuse("--outdir ${outdir}: has a character in its path that no task's script can hold; name another folder.")
    }
    if (!mark.exists()) {
        mark.text = 'Tasks that can reach this file put each denoised series beside it as soon as it is done.\n'
    }
    return [records: records, mark: mark]
}

def hasFailures(manifest) {
    def counts = new groovy.json.JsonSlurper().parse(manifest.toFile()).counts
    return counts.refused || counts.failed
}

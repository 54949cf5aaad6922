// A folder of DICOM and a denoiser bundle in, derived series out; nothing is trained.

include { CHECKSUMS } from '../modules/checksums.nf'
include { DENOISE } from '../modules/denoise.nf'
include { SAMPLESHEET } from '../modules/samplesheet.nf'
include { inputScans ; patientRows ; recordVersions } from './record.nf'

workflow DENOISE_COHORT {
    take:
    settings // map of checked parameters

    main:
    SAMPLESHEET(file(settings.input), '')
    CHECKSUMS(inputScans(SAMPLESHEET.out.sheet))

    // [[id: L001, patient: L001], folder, bundle]: the low dose where the sheet tells doses apart, else the only scan
    def model = file(settings.model)
    def scans = patientRows(SAMPLESHEET.out.sheet).map { row ->
        [[id: row.patient, patient: row.patient], row.low_dose ?: row.full_dose, model]
    }
    def key = settings.deidentification_key ? file(settings.deidentification_key) : []
    def denoising = settings.subMap('blend', 'compress', 'nifti', 'keep_private', 'push', 'device') + [keep_going: true]
    DENOISE(scans, key, denoising)

    // the number of patients, once all are done, after what `ldctpipe denoise` says of series and files left out
    def left_out = DENOISE.out.said
        .flatMap { said -> said.readLines().findAll { line -> line ==~ /\S+: (refused|left out): .*/ } }
        .toSortedList()
    DENOISE.out.series.count().combine(left_out.map { lines -> [lines] }).subscribe { patients, lines ->
        println("\n${(lines + ["Denoised ${patients} patient(s): ${settings.outdir}/denoised"]).join('\n')}")
    }

    recordVersions(settings, SAMPLESHEET.out.versions.mix(CHECKSUMS.out.versions, DENOISE.out.versions))
}

// Room on the disks, looked at before the first task: a run that fills one dies hours later.

include { refuse } from './refusal.nf'
include { pathOf ; stagingFault } from './staging.nf'
include { rowsOf } from './tables.nf'

def checkSpace(settings) {
    def needs = settings.needed_space ? statedNeeds(settings) : workflow.resume || workflow.stubRun ? [:] : estimatedNeeds(settings)
    // file systems by the folder's own; two folders on one of them need the sum
    def places = needs.findAll { folder, _bytes -> folder.toUri().scheme == 'file' }.groupBy { folder, _bytes -> fileSystem(folder) }
    places.each { place, folders ->
        def needed = folders.values().sum()
        if (place.usableSpace < needed) {
            refuseSpace(folders.keySet().join(' and '), place.usableSpace, needed)
        }
    }
}

def refuseSpace(folders, free, needed) {
    refuse("${folders}: ${inGigabytes(free)} free, and this run needs about ${inGigabytes(needed)} there; " +
        'free some, name other folders with -work-dir and --outdir, or give the need that you know of as --needed_space.')
}

def statedNeeds(settings) {
    def bytes = (settings.needed_space as MemoryUnit).toBytes()
    return [(workflow.workDir): bytes, (pathOf(settings.outdir)): 0L]
}

// Bytes by folder. Scans become volumes, then the training store, each about as large as uncompressed DICOM; results hold
// the denoised scans, a simulated cohort and the model. Checkpoints hold networks and optimizers (benchmarks/run_cost.py).
def estimatedNeeds(settings) {
    def scans = settings.input ? inputBytes(pathOf(settings.input)) : settings.phantom_patients * settings.phantom_slices * 2 * 512L * 512 * 2
    if (settings.workflow == 'denoise') {
        return [(workflow.workDir): scans, (pathOf(settings.outdir)): scans]
    }
    // of a sweep at least four points
    def trainings = settings.workflow == 'sweep' ? 4 * settings.repeats : 1
    def networks = trainings * (settings.recipe.contains('mini') ? 200 : 2048) * 1024L * 1024
    return [(workflow.workDir): 4 * scans + networks, (pathOf(settings.outdir)): scans + networks.intdiv(4)]
}

def inputBytes(input) {
    def roots = input.isDirectory() ? [input] : sheetPaths(input)
    return roots.collect { root -> bytesBelow(root) }.sum() ?: 0L
}

// What a sheet names; whether it is right, `ldctpipe samplesheet` says.
def sheetPaths(sheet) {
    def folder = sheet.toRealPath().parent
    def named = rowsOf(sheet).collectMany { row -> [row.low_dose, row.full_dose] }
    return named.findAll { name -> name && !stagingFault(name) }.collect { name -> folder.resolve(name) }.findAll { path -> path.exists() }
}

// Counts as far as a hundred thousand files: more would take longer than it tells.
def bytesBelow(root) {
    try {
        def found = java.nio.file.Files.walk(root, java.nio.file.FileVisitOption.FOLLOW_LINKS)
        return found.limit(100000).filter { path -> path.isFile() }.mapToLong { path -> path.size() }.sum()
    }
    catch (UncheckedIOException _unreadable) {
        return 0L
    }
}

// Of a folder that need not be there yet.
def fileSystem(folder) {
    def place = folder.toAbsolutePath()
    return place.exists() ? java.nio.file.Files.getFileStore(place) : fileSystem(place.parent)
}

def inGigabytes(bytes) {
    return "${String.format(Locale.ROOT, '%.1f', bytes / (1024 * 1024 * 1024))} GB"
}

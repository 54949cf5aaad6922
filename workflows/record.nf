// What a run reads from its samplesheet and leaves about itself: versions, parameters, outcome.

include { oneLine } from './refusal.nf'
include { pathOf ; staged ; stagingFault } from './staging.nf'
include { rowsOf } from './tables.nf'

def patientRows(sheet) {
    return sheet
        .flatMap { table -> rowsOf(table) }
        .map { row ->
            [
                patient: row.patient,
                split: row.split,
                low_dose: stagedScan(row.patient, row.low_dose),
                full_dose: stagedScan(row.patient, row.full_dose),
            ]
        }
}

// The scan as tasks get it, or null; ends the run before a task gets a name that its script can't hold.
def stagedScan(patient, scan) {
    def fault = scan ? stagingFault(scan) : null
    if (fault) {
        error("${oneLine("patient ${patient}, ${scan}: ${fault}")}.")
    }
    return scan ? staged(pathOf(scan)) : null
}

def heldOutPatients(sheet) {
    return rowsOf(sheet).findAll { row -> row.split == 'test' }*.patient
}

// [patient, low-dose folder or [], full-dose folder or []]
def inputScans(sheet) {
    return patientRows(sheet).map { row -> [row.patient, row.low_dose ?: [], row.full_dose ?: []] }
}

def recordVersions(settings, versions) {
    // [process, program and version]
    return versions
        .unique()
        .map { task_name, version -> "${task_name.tokenize(':').last()}\t${version}" }
        .collectFile(
            name: 'versions.tsv',
            storeDir: pathOf("${settings.outdir}/pipeline_info"),
            newLine: true,
            sort: true,
            cache: false,
        )
}

def writeRunRecord(settings) {
    def record = [
        pipeline: [name: workflow.manifest.name, version: workflow.manifest.version, revision: gitRevision(workflow.projectDir)],
        command_line: settings.deidentification_key ? LEFT_OUT() : workflow.commandLine,
        profile: workflow.profile,
        parameters: settings.findAll { name, _value -> name != 'help' } + leftOut(settings),
        seed: settings.seed,
        session: workflow.sessionId.toString(),
        resumed: workflow.resume,
        started: workflow.start.toString(),
        finished: workflow.complete.toString(),
        success: succeeded(),
        error: succeeded() ? null : errorOf(settings),
        work_folder: workflow.workDir.toUri().scheme == 'file' ? workflow.workDir.toString() : null,
        container_engine: workflow.containerEngine,
        container_images: containerImages(),
        versions: [nextflow: workflow.nextflow.version.toString()] + taskVersions(settings.outdir),
    ]
    def target = pathOf("${settings.outdir}/run.json")
    pathOf("${settings.outdir}/pipeline_info").mkdirs()
    pathOf("${settings.outdir}/pipeline_info/main.nf").text = pathOf("${projectDir}/main.nf").text
    def json = new groovy.json.JsonOutput()
    target.text = json.prettyPrint(json.toJson(record)) + '\n'
}

// With de-identification no result names the input or the mapping.
def leftOut(settings) {
    return settings.deidentification_key ? [input: LEFT_OUT(), deidentification_mapping: null] : [:]
}

def LEFT_OUT() {
    return '(left out)'
}

def errorOf(settings) {
    return settings.deidentification_key ? 'a task failed; its work folder has the reason' : lastWords(settings.outdir).join(' ')
}

// Checksums and the crate, when all is there: Nextflow writes timeline, trace and graph after `onComplete`, so this waits
// until the program ends. A head without ldctpipe leaves it to whoever has it.
def completeRecordAtExit(settings) {
    def outdir = settings.outdir
    if (pathOf(outdir).toUri().scheme != 'file') {
        return
    }
    Runtime.runtime.addShutdownHook(new Thread({ completeRecord(outdir) }))
}

def completeRecord(outdir) {
    def command = new ProcessBuilder("${projectDir}/bin/ldctpipe".toString(), 'record', outdir, '--quiet')
    command.environment().put('LDCTPIPE_NO_INSTALL', '1')
    def process = command.redirectErrorStream(true).start()
    def said = process.inputStream.text.trim()
    if (process.waitFor() != 0) {
        System.err.println("${said}\nldctpipe: the record has no checksums yet; `ldctpipe record ${outdir}` writes them.")
    }
}

// What tells one build of an image from another, by the name that tasks gave; null where only a registry knows.
def containerImages() {
    if (!workflow.containerEngine) {
        return [:]
    }
    def names = workflow.container instanceof Map ? workflow.container.values().toSet() : [workflow.container]
    return names.findAll().collectEntries { name -> [name.toString(), imageDigest(workflow.containerEngine, name.toString())] }
}

def imageDigest(engine, name) {
    if (name.contains('@sha256:')) {
        return name.tokenize('@').last()
    }
    if (engine in ['docker', 'podman']) {
        def id = outputOf([engine, 'image', 'inspect', '--format', '{{.Id}}', name])
        return id ? "sha256:${id - 'sha256:'}".toString() : null
    }
    def digest = file(name, glob: false).exists() ? outputOf(['sha256sum', file(name, glob: false).toString()]) : null
    return digest ? "sha256:${digest.tokenize().first()}".toString() : null
}

def taskVersions(outdir) {
    def table = pathOf("${outdir}/pipeline_info/versions.tsv")
    return table.exists() ? table.readLines().collectEntries { line -> line.split('\t') as List } : [:]
}

def gitRevision(folder) {
    return outputOf(['git', '-C', folder.toString(), 'describe', '--always', '--dirty', '--abbrev=40'])
}

// What a program prints; null where it isn't there or fails.
def outputOf(command) {
    try {
        def process = command.execute()
        def said = process.text.trim()
        return process.waitFor() == 0 ? said : null
    }
    catch (IOException _missing_program) {
        return null
    }
}

// For Nextflow a run with ignored failures is a success, although it ends with 1 (workflow.failOnIgnore).
def succeeded() {
    return workflow.success && !workflow.stats.ignoredCount
}

// The last lines on the terminal of a run that failed: each failed task's own sentence, else what Nextflow makes of it.
def tellFailure(outdir) {
    if (succeeded()) {
        return
    }
    println("\n${lastWords(outdir).collect { line -> oneLine(line) }.join('\n')}")
}

def lastWords(outdir) {
    def failed = failedTasks(outdir).collectMany { task -> ["${task.name} failed:".toString(), ownSentence(task)] }
    def report = workflow.errorReport ?: workflow.errorMessage ?: 'the run stopped; see .nextflow.log'
    return failed ?: [report.readLines().findAll { line -> line.trim() }.last().trim()]
}

// Rows of the trace of tasks that failed in their last attempt, as maps.
def failedTasks(outdir) {
    def trace = pathOf("${outdir}/pipeline_info/trace.txt")
    if (!trace.exists()) {
        return []
    }
    def lines = trace.readLines().collect { line -> line.split('\t') as List }
    def tasks = lines.tail().collect { cells -> [lines.head(), cells].transpose().collectEntries() }
    def done = tasks.findAll { task -> task.status in ['COMPLETED', 'CACHED'] }*.name
    return tasks.findAll { task -> task.status == 'FAILED' && !(task.name in done) }.collectEntries { task -> [task.name, task] }.values()
}

def ownSentence(task) {
    def errors = pathOf("${task.workdir}/.command.err")
    def lines = errors.exists() ? errors.readLines()*.trim().findAll { line -> line } : []
    def said = lines.findAll { line -> line.startsWith('ldctpipe: ') }
    // a job that the scheduler would not take has said nothing itself
    def refused = (workflow.errorReport ?: '').readLines()*.trim().findAll { line -> line.startsWith('sbatch: ') }.join(' ')
    return (said ?: lines ?: [refused ?: "exit status ${task.exit}; see ${task.workdir}"]).last()
}

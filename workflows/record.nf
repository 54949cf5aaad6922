// What a run reads from its samplesheet and leaves about itself: versions, parameters, outcome.

def patientRows(sheet) {
    return sheet
        .splitCsv(header: true)
        .map { row ->
            [
                patient: row.patient,
                split: row.split,
                low_dose: row.low_dose ? file(row.low_dose) : null,
                full_dose: row.full_dose ? file(row.full_dose) : null,
            ]
        }
}

def recordVersions(settings, versions) {
    // [process, program and version]
    return versions
        .unique()
        .map { task_name, version -> "${task_name.tokenize(':').last()}\t${version}" }
        .collectFile(
            name: 'versions.tsv',
            storeDir: "${settings.outdir}/pipeline_info",
            newLine: true,
            sort: true,
            cache: false,
        )
}

def writeRunRecord(settings) {
    def record = [
        pipeline: [name: workflow.manifest.name, version: workflow.manifest.version, revision: gitRevision(workflow.projectDir)],
        command_line: workflow.commandLine,
        profile: workflow.profile,
        parameters: settings.findAll { name, _value -> name != 'help' },
        seed: settings.seed,
        session: workflow.sessionId.toString(),
        resumed: workflow.resume,
        started: workflow.start.toString(),
        finished: workflow.complete.toString(),
        success: succeeded(),
        container_engine: workflow.containerEngine,
        versions: [nextflow: workflow.nextflow.version.toString()] + taskVersions(settings.outdir),
    ]
    def target = file("${settings.outdir}/run.json")
    target.parent.mkdirs()
    def json = new groovy.json.JsonOutput()
    target.text = json.prettyPrint(json.toJson(record)) + '\n'
}

def taskVersions(outdir) {
    def table = file("${outdir}/pipeline_info/versions.tsv")
    return table.exists() ? table.readLines().collectEntries { line -> line.split('\t') as List } : [:]
}

def gitRevision(folder) {
    try {
        def git = ['git', '-C', folder.toString(), 'describe', '--always', '--dirty', '--abbrev=40'].execute()
        def revision = git.text.trim()
        return git.waitFor() == 0 ? revision : null
    }
    catch (IOException _missing_git) {
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
    def failed = failedTasks(outdir).collect { task -> "${task.name} failed:\n${ownSentence(task)}" }
    def report = workflow.errorReport ?: workflow.errorMessage ?: 'the run stopped; see .nextflow.log'
    println("\n${failed ? failed.join('\n') : report.readLines().findAll { line -> line.trim() }.last().trim()}")
}

// Rows of the trace of tasks that failed in their last attempt, as maps.
def failedTasks(outdir) {
    def trace = file("${outdir}/pipeline_info/trace.txt")
    if (!trace.exists()) {
        return []
    }
    def lines = trace.readLines().collect { line -> line.split('\t') as List }
    def tasks = lines.tail().collect { cells -> [lines.head(), cells].transpose().collectEntries() }
    def done = tasks.findAll { task -> task.status in ['COMPLETED', 'CACHED'] }*.name
    return tasks.findAll { task -> task.status == 'FAILED' && !(task.name in done) }.collectEntries { task -> [task.name, task] }.values()
}

def ownSentence(task) {
    def errors = file("${task.workdir}/.command.err")
    def lines = errors.exists() ? errors.readLines()*.trim().findAll { line -> line } : []
    def said = lines.findAll { line -> line.startsWith('ldctpipe: ') }
    // a job that the scheduler would not take has said nothing itself
    def refused = (workflow.errorReport ?: '').readLines()*.trim().findAll { line -> line.startsWith('sbatch: ') }.join(' ')
    return (said ?: lines ?: [refused ?: "exit status ${task.exit}; see ${task.workdir}"]).last()
}

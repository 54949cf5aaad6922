// Files of parameters and samplesheets on their way into tasks: no name of theirs is code or syntax in a script.
//
// Nextflow escapes blanks, quotes and brackets in the real path of what it stages, but not $ { } [ ] * ? and line breaks,
// which the shell reads. So what it can't stage as it is goes as a folder of our own with a link in it, made here without a
// shell, and the task finds the link by `inside`. Where tasks can't follow such a link (containers mount the folder and not
// its target, clouds copy it) the name is refused.

include { refuse } from './refusal.nf'

// Without a glob, and without Nextflow's own rules about blanks in front and behind.
def pathOf(text) {
    return isAddress(text) ? file(text, glob: false) : workflow.launchDir.resolve(text.toString()).normalize()
}

def isAddress(text) {
    return text.toString() ==~ /(?s)[a-z0-9]+:\/\/.*/
}

// Null, or why no task can get what a parameter or a row names.
def stagingFault(text) {
    try {
        return faultOfPath(pathOf(text))
    }
    catch (java.nio.file.InvalidPathException _not_in_this_locale) {
        return localeFault()
    }
}

def faultOfPath(path) {
    if (path.toString().contains('\uFFFD') && !path.exists()) {
        return localeFault()
    }
    if (!tasksFollowLinks() && !hasPlainName(path)) {
        return 'has a character in its path that can\'t be handed to a container or a cloud; rename it, or run without them'
    }
    def folder = path.toUri().scheme == 'file' ? realPath(path).parent.toString() : ''
    if (workflow.containerEngine && folder =~ (workflow.containerEngine in ['apptainer', 'singularity'] ? /[:,]/ : /:/)) {
        return "lies in a folder that ${workflow.containerEngine} can't mount because of the colon or comma in its path; rename it"
    }
    return null
}

def localeFault() {
    return System.getProperty('sun.jnu.encoding') == 'UTF-8'
        ? 'has a name that is not text in UTF-8; rename it'
        : 'has a name beyond ASCII, which this locale has no room for; start with bin/nextflow, or set LC_ALL=C.UTF-8'
}

def tasksFollowLinks() {
    return workflow.workDir.toUri().scheme == 'file' && !workflow.containerEngine
}

// Letters and digits of any script, and what Nextflow escapes or the shell takes as it is; a cloud's scripts quote once more.
def hasPlainName(path) {
    def escaped = workflow.workDir.toUri().scheme == 'file' ? ' \'"()&;!' : " '()&;"
    return [path, realPath(path)].every { each -> each.toString().matches("[\\p{L}\\p{M}\\p{N}/._+,=@%:#^${escaped}-]*") }
}

// Nextflow stages what a link leads to.
def realPath(path) {
    return path.toUri().scheme == 'file' && path.exists() ? path.toRealPath() : path
}

// The folders whose names stand in the scripts of all tasks; ends the run before the first of them.
def checkFolders() {
    [(workflow.workDir): 'name another with -work-dir', (workflow.projectDir): 'move it'].each { folder, remedy ->
        if (!hasPlainName(folder) || folder.toString().contains('"')) {
            refuse("${folder}: has a character in its path that no task's script can hold; ${remedy}.")
        }
    }
}

// What tasks get: the file itself, or a folder `ldctpipe-linked` with a link to it. Its path tells the file, its size and its time, by
// which Nextflow knows a task that is done already.
def staged(path) {
    if (hasPlainName(path) && path.fileName?.toString() != 'ldctpipe-linked') {
        return path
    }
    def file = path.toRealPath()
    def key = [file, java.nio.file.Files.getLastModifiedTime(file).toMillis(), java.nio.file.Files.size(file)].join('\n').sha256()
    def folder = workflow.workDir.resolve("inputs/${key}/ldctpipe-linked")
    java.nio.file.Files.createDirectories(folder)
    try {
        java.nio.file.Files.createSymbolicLink(folder.resolve(path.fileName.toString().replaceFirst(/^\.+/, '') ?: '_'), file)
    }
    catch (java.nio.file.FileAlreadyExistsException _of_an_earlier_run) {
        return folder
    }
    return folder
}

// What stands in a script for a file that was staged below a folder. Nextflow escapes paths in the scripts of processes, but
// not what a function makes of them.
def inside(file) {
    def word = nextflow.util.Escape.path(file.toString())
    return word.endsWith('/ldctpipe-linked') ? "${word}/*" : word
}

// The file of a parameter; [] where it isn't given, which stages nothing.
def stagedFile(text) {
    return text ? staged(pathOf(text)) : []
}

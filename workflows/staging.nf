// Stages files of parameters and samplesheets into tasks such that no name of theirs is code or syntax in a script.
//
// Nextflow escapes blanks, quotes and parentheses in the real path of what it stages, but not $ { } [ ] * ? and line breaks,
// which the shell interprets. Files with such names are staged as a folder of our own that holds a link, made here without a
// shell, and the task finds the link by `inside`. Where tasks can't follow such a link (containers mount the folder but not
// the link's target, clouds copy it) the name is refused.

include { refuse } from './refusal.nf'

// The path of a text, without globbing and without Nextflow's own rules for leading and trailing blanks.
def pathOf(text) {
    return isAddress(text) ? file(text, glob: false) : workflow.launchDir.resolve(text.toString()).normalize()
}

def isAddress(text) {
    return text.toString() ==~ /(?s)[a-z0-9]+:\/\/.*/
}

// Null, or why no task can get the file that a parameter or a row names.
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
        : 'has a name beyond ASCII, which this locale can\'t represent; start with bin/nextflow, or set LC_ALL=C.UTF-8'
}

def tasksFollowLinks() {
    return workflow.workDir.toUri().scheme == 'file' && !workflow.containerEngine
}

// Letters and digits of any script, and characters that Nextflow escapes or the shell takes literally; a cloud's scripts
// quote once more.
def hasPlainName(path) {
    def escaped = workflow.workDir.toUri().scheme == 'file' ? ' \'"()&;!' : " '()&;"
    return [path, realPath(path)].every { each -> each.toString().matches("[\\p{L}\\p{M}\\p{N}/._+,=@%:#^${escaped}-]*") }
}

// Nextflow stages the target of a link.
def realPath(path) {
    return path.toUri().scheme == 'file' && path.exists() ? path.toRealPath() : path
}

// Checks the folders whose paths are in the scripts of all tasks; ends the run before the first task.
def checkFolders() {
    [(workflow.workDir): 'name another with -work-dir', (workflow.projectDir): 'move it'].each { folder, remedy ->
        if (!hasPlainName(folder) || folder.toString().contains('"')) {
            refuse("${folder}: has a character in its path that no task's script can hold; ${remedy}.")
        }
    }
}

// What tasks get: the file itself, or a folder `ldctpipe-linked` with a link to it. The folder's path depends on the file, its size and
// its time, so that Nextflow recognizes a finished task.
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

// The word in a script for a file that was staged below a folder. Nextflow escapes paths in the scripts of processes, but
// not what a function makes of them.
def inside(file) {
    def word = nextflow.util.Escape.path(file.toString())
    return word.endsWith('/ldctpipe-linked') ? "${word}/*" : word
}

// The file of a parameter; [], which stages nothing, if it isn't set.
def stagedFile(text) {
    return text ? staged(pathOf(text)) : []
}

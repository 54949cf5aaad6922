// Which published name stands for which patient, in a file that only its owner can read.

include { recordsOf } from './tables.nf'

def COLUMNS() {
    return ['published', 'patient']
}

// Whether a file is such a table, or empty; `ldctpipe cohort plan` and `cohort denoise` write the same.
def isMapping(path) {
    if (!path.isFile()) {
        return false
    }
    def records = recordsOf(textOf(path))
    return !records || records.first() == COLUMNS() && records.every { record -> record.size() == COLUMNS().size() }
}

// Adds the rows of one table to another by one rename, so that a kill loses none.
def addToMapping(target, mapping) {
    def place = target.exists() ? target.toRealPath() : target
    def rows = [place, mapping].findAll { table -> table.exists() }.collectMany { table -> recordsOf(textOf(table)).drop(1) }
    def lines = [COLUMNS()] + rows.unique().sort { row -> row.join(',') }
    place.parent.mkdirs()
    // which only its owner can read from the start
    def temporary = java.nio.file.Files.createTempFile(place.parent, '.ldctpipe', '.partial')
    temporary.setText(lines.collect { line -> line.collect { cell -> quotedCell(cell) }.join(',') + '\n' }.join(), 'ISO-8859-1')
    java.nio.file.Files.move(temporary, place, java.nio.file.StandardCopyOption.ATOMIC_MOVE)
}

// A byte a character: names need not be text.
def textOf(path) {
    return path.getText('ISO-8859-1')
}

def quotedCell(cell) {
    return cell =~ /[",\r\n]/ ? '"' + cell.replace('"', '""') + '"' : cell
}

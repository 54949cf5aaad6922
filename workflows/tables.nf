// CSV as Python writes it: a quoted cell may hold commas, quotes and line breaks, which Nextflow's own splitCsv cuts at.

// A map by column for each row, in the table's order.
def rowsOf(table) {
    def records = recordsOf(table.getText('UTF-8'))
    return records ? records.tail().collect { cells -> [records.head(), cells].transpose().collectEntries() } : []
}

// Lists of cells; without empty lines.
def recordsOf(text) {
    def cells = text.replaceFirst(/^\uFEFF/, '').findAll(/(?s)\G *+(?:"((?:[^"]++|"")*+)"|([^,\r\n]*))(,|\r\n|\n|\r|\z)/) { _all, quoted, plain, end ->
        [text: quoted == null ? plain : quoted.replace('""', '"'), ends_row: end != ',']
    }
    def records = cells.inject([[]]) { rows, cell ->
        rows.last() << cell.text
        cell.ends_row ? rows + [[]] : rows
    }
    return records.findAll { record -> record.any() }
}

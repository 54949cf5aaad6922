// What becomes of names between a parameter or a table and a task's script, by the pipeline's own functions; for test_names.py.

include { addToMapping ; isMapping } from '../../workflows/mapping.nf'
include { shellQuoted } from '../../workflows/quoting.nf'
include { oneLine } from '../../workflows/refusal.nf'
include { inside ; pathOf ; staged ; stagingFault } from '../../workflows/staging.nf'
include { recordsOf } from '../../workflows/tables.nf'

workflow {
    def asked = new groovy.json.JsonSlurper().parse(file(params.asked))
    def answers = asked.names.collect { name ->
        def given = staged(pathOf("files/${name}"))
        def real = new nextflow.file.FileHolder(given).storePath
        [
            fault: stagingFault("files/${name}"),
            staged: real.toString(),
            script: inside(real),
            staging: nextflow.util.Escape.path(real),
            again: staged(pathOf("files/${name}")).toString() == given.toString(),
            quoted: shellQuoted(name),
            line: oneLine(name),
        ]
    }
    def mappings = file('mappings/*').sort { path -> path.name }
    mappings.findAll { path -> isMapping(path) }.each { path -> addToMapping(file('mapping.csv'), path) }
    file(params.answers).text = groovy.json.JsonOutput.toJson([names: answers, tables: asked.tables.collect { table -> recordsOf(table) }])
}

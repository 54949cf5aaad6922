// The recipe with its overrides, whole: a wrong value ends the run here, before any long work.
include { shellQuoted } from '../workflows/quoting.nf'

process RECIPE {
    tag "${name}"
    label 'io'

    input:
    val name
    val overrides

    output:
    path 'recipe.yaml', emit: recipe
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    def changes = overrides.collect { override -> "--set ${shellQuoted(override)}" }.join(' ')
    """
    ldctpipe recipes '${name}' ${changes} > recipe.yaml
    """

    stub:
    """
    touch recipe.yaml
    """
}

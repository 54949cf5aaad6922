// The trainings of a sweep, checked against the recipe: what is wrong with a point ends the run here.
include { shellQuoted } from '../workflows/quoting.nf'
include { inside } from '../workflows/staging.nf'

process SWEEP {
    tag 'plan.csv'
    label 'io'

    input:
    path sweep, stageAs: 'sweep/*'
    val training
    val edition // of the shipped recipes, so that an edited one makes another plan

    output:
    path 'plan.csv', emit: table
    path 'plan.json', emit: plan
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    def pretrained = training.no_pretrained ? '--no-pretrained' : ''
    def small = training.sweep_small ? '--small' : ''
    def recipe = training.recipe ? "--recipe '${training.recipe}'" : ''
    def overrides = training.set.collect { override -> "--set ${shellQuoted(override)}" }.join(' ')
    """
    ldctpipe sweep ${inside(sweep)} plan.csv ${recipe} --repeats ${training.repeats} \\
        --seed ${training.seed} ${pretrained} ${small} ${overrides}
    """

    stub:
    """
    echo 'id,point,recipe,repeat,seed,same_as,init,overrides' > plan.csv
    for seed in \$(seq ${training.seed} ${training.seed + training.repeats - 1}); do
        echo "a.seed-\$seed,a,red-cnn,1,\$seed,,,losses.pixel=1.0" >> plan.csv
        echo "b.seed-\$seed,b,red-cnn,1,\$seed,,,losses.pixel=2.0;losses.adversarial=1.0" >> plan.csv
        echo "c.seed-\$seed,c,red-cnn,1,\$seed,a.seed-\$seed,,losses.pixel=1.0" >> plan.csv
        echo "d.seed-\$seed,d,red-cnn,1,\$seed,,b.seed-\$seed,losses.pixel=3.0" >> plan.csv
    done
    touch plan.json
    """
}

// The denoiser bundle. Checkpoints lie outside the task's own folder, so that the next attempt goes on from them.
include { shellQuoted } from '../workflows/quoting.nf'
include { inside } from '../workflows/staging.nf'

process TRAIN {
    tag "${meta.id}"
    label 'gpu'

    input:
    tuple val(meta), path(store), val(training), val(checkpoints), path(init, stageAs: 'init/*')
    path weights, stageAs: 'backbone/*'
    path perceptual, stageAs: 'perceptual/*'

    output:
    tuple val(meta), path("${meta.folder}"), emit: model
    tuple val(task.process), eval('ldctpipe --version'), emit: versions

    script:
    def backbone = training.no_pretrained ? '--no-pretrained' : weights ? "--backbone-weights ${inside(weights)}" : ''
    def features = perceptual ? "--perceptual-weights ${inside(perceptual)}" : ''
    def iterations = training.iterations ? "--iterations ${training.iterations}" : ''
    def interval = training.checkpoint_every ? "--checkpoint-every ${training.checkpoint_every}" : ''
    def start = init ? "--init ${inside(init)}" : ''
    def devices = training.devices > 1 ? "--devices ${training.devices}" : ''
    def overrides = training.set.collect { override -> "--set ${shellQuoted(override)}" }.join(' ')
    """
    ldctpipe train ${store} '${meta.folder}' --recipe '${training.recipe}' --seed ${training.seed} \\
        --device ${training.device} --threads ${task.cpus} ${backbone} ${features} ${start} \\
        ${iterations} ${overrides} ${devices} --checkpoints ${shellQuoted(checkpoints)} ${interval} --resume
    """

    stub:
    """
    mkdir '${meta.folder}'
    touch '${meta.folder}'/{recipe.yaml,card.json,training.csv,model.safetensors}
    """
}

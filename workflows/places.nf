// What the place where tasks run asks for, said in one sentence before the first task instead of by each of them.

include { refuse } from './refusal.nf'

def checkPlace(settings) {
    def config = nextflow.Global.session.config
    def executor = config.process?.executor ?: 'local'
    checkNamed(settings, executor)
    if (workflow.containerEngine in ['apptainer', 'singularity']) {
        checkImageFile(config.process.container)
    }
    else if (workflow.containerEngine in ['docker', 'podman'] && executor == 'local') {
        checkLocalImage(workflow.containerEngine, config.process.container)
    }
}

// A cloud can't be guessed from the machine that the run is started on.
def checkNamed(settings, executor) {
    def needed = [
        awsbatch: [aws_queue: 'the job queue', aws_region: 'the region of the queue'],
        'google-batch': [google_project: 'the project that pays', google_location: 'the region to run in'],
        k8s: [k8s_claim: 'the volume claim that holds the work folder'],
    ]
    def names = needed[executor]
    if (names == null) {
        return
    }
    (names + [container: 'the image, by its name in a registry']).each { name, what ->
        if (!settings[name]) {
            refuse("--${name} is missing; ${executor} needs ${what}.")
        }
    }
}

def checkImageFile(image) {
    // Nextflow writes it into the script of each task without quotes
    if (!image.matches('[\\p{L}\\p{M}\\p{N}_./:@+,=%-]+')) {
        refuse("the image ${image} has a character in its path that no task's script can hold; name another with --container.")
    }
    if (!image.contains('://') && !file(image, glob: false).exists()) {
        refuse("the image ${image} is not there; make it (docs/containers.md) or name another with --container.")
    }
}

// What has a registry in its name is fetched by the engine itself.
def checkLocalImage(engine, image) {
    if (image.contains('/') && !image.startsWith('localhost/')) {
        return
    }
    def asked = askEngine([engine, 'image', 'inspect', '--format', '{{.Id}}', image])
    if (asked.code == 127) {
        refuse("${engine} is not installed here; install it, or run without the profile ${engine}.")
    }
    if (asked.code != 0 && !(asked.said =~ /(?i)no such (image|object)|not known/)) {
        refuse("${engine} does not answer: ${asked.said.readLines().last()}")
    }
    if (asked.code != 0) {
        refuse("the image ${image} is not there; build it with `make image`, or name another with --container.")
    }
    def started = askEngine([engine, 'run', '--rm', '--no-healthcheck', '--network', 'none', '--entrypoint', 'true', image])
    if (started.code != 0) {
        refuse("${engine} starts no container from ${image}: ${started.said.readLines().last()}")
    }
}

def askEngine(command) {
    try {
        def process = command.execute()
        def said = new StringBuffer()
        process.waitForProcessOutput(new StringBuffer(), said)
        return [code: process.exitValue(), said: said.readLines().findAll { line -> line.trim() }.join('\n') ?: 'it does not say why']
    }
    catch (IOException _not_installed) {
        return [code: 127, said: '']
    }
}

// Parses Nextflow scripts and configuration with the strict parser of newer versions; ends with 1 if it objects.
import nextflow.config.control.ConfigParser
import nextflow.script.control.ParanoidWarning
import nextflow.script.control.ScriptParser

def scripts = new ScriptParser()
def configs = new ConfigParser()
args.each { name -> (name.endsWith('.config') ? configs : scripts).parse(new File(name)) }
scripts.analyze()
configs.analyze()

def faults = 0
[scripts, configs].each { parser ->
    parser.compiler().sources.each { uri, source ->
        def collector = source.errorCollector
        (collector.errors ?: []).each { message ->
            def cause = message.cause
            def place = cause.hasProperty('startLine') ? ":${cause.startLine}:${cause.startColumn}" : ''
            println "${new File('').toURI().relativize(uri)}${place}: ${cause.message.replaceFirst(' @ line .*', '')}"
            faults += 1
        }
        (collector.warnings ?: []).findAll { warning -> !(warning instanceof ParanoidWarning) }.each { warning ->
            println "${new File('').toURI().relativize(uri)}:${warning.context.startLine}: ${warning.message}"
        }
    }
}
println "Nextflow strict syntax: ${args.size()} files, ${faults} faults"
System.exit(faults ? 1 : 0)

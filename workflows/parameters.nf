// Parameters against nextflow_schema.json: what each means, and one sentence for the first that is wrong.

include { refuse } from './refusal.nf'
include { isMapping } from './mapping.nf'
include { pathOf ; stagingFault } from './staging.nf'

def readSchema(path) {
    return new groovy.json.JsonSlurper().parse(new File(path))
}

def schemaGroups(schema) {
    return schema['$defs'].values()
}

def schemaProperties(schema) {
    return schemaGroups(schema).inject([:]) { all, group -> all + group.properties }
}

def parameterHelp(schema) {
    def lines = ["${schema.title}: ${schema.description}", '', 'nextflow run main.nf -profile PROFILE[,PROFILE] [--PARAMETER VALUE ...]']
    schemaGroups(schema).each { group ->
        lines += ['', group.title]
        group.properties.each { name, property ->
            def fallback = property['default'] in [null, false] ? '' : " [${property['default']}]"
            def choices = property['enum'] ? " (${property['enum'].join(', ')})" : ''
            lines << "  --${name.padRight(26)}${property.description}${choices}${fallback}".toString()
        }
    }
    return lines.join('\n')
}

// The parameters with the types that the schema gives them; ends the run with one sentence if one is wrong.
def checkedParameters(given, schema) {
    def properties = schemaProperties(schema)
    checkNoSecret(given.push)
    given.keySet().each { name -> checkKnown(name, given, properties) }
    def settings = properties.collectEntries { name, property -> [name, checkedValue(name, given[name], property)] }
    checkTogether(settings)
    settings.set = settings.set ? settings.set.tokenize(';')*.trim() : []
    settings.outdir = pathOf(settings.outdir).toAbsolutePath().toString()
    return settings
}

def checkKnown(name, given, properties) {
    if (name in properties) {
        return
    }
    // Nextflow files --max-cpus under maxCpus as well
    def plain = name.replaceAll('([a-z])([A-Z])', '$1_$2').replace('-', '_').toLowerCase()
    def near = plain in properties ? [plain] : properties.keySet().toList().closest(plain)
    def spelled = given.keySet().find { other -> other != name && other.replace('-', '') == name.toLowerCase() } ?: name
    refuse("--${spelled} is not a parameter; ${near ? "did you mean --${near.first()}?" : '--help lists those that there are.'}")
}

// Does not repeat the address, which would tell the terminal and its log what must not stand in .command.sh either.
def checkNoSecret(address) {
    if (address?.toString()?.contains('@')) {
        refuse('--push holds credentials, which all users of the machine could read; give the address alone, ' +
            'and set LDCTPIPE_PACS_USER and LDCTPIPE_PACS_PASSWORD, or LDCTPIPE_PACS_TOKEN, in the environment.')
    }
}

def checkedValue(name, value, property) {
    // blanks are part of a file's name
    def text = property.format == 'path' ? value?.toString() : value?.toString()?.trim()
    if (!text) {
        return null
    }
    def typed = typedValue(text, property.type)
    def wanted = typed == null ? "is not ${[integer: 'a whole number', number: 'a number', boolean: 'true or false'][property.type]}"
        : property['enum'] && !(typed in property['enum']) ? "is not one of ${property['enum'].join(', ')}"
        : property.minimum != null && typed < property.minimum ? "is below ${property.minimum}"
        : property.maximum != null && typed > property.maximum ? "is above ${property.maximum}"
        : property.pattern && !(typed ==~ property.pattern) ? 'holds a character that is not allowed'
        : property.format == 'path' ? faultOfFile(name, typed, property)
        : null
    if (wanted) {
        refuse("--${name} ${value} ${wanted}; it is: ${property.description}")
    }
    return typed
}

def faultOfFile(name, text, property) {
    // Nextflow itself makes its reports there, and knows no such names
    if (name == 'outdir' && text =~ /^\s|\s$|\p{Cntrl}/) {
        return 'has a blank at an end of its name, or a control character'
    }
    return stagingFault(text) ?: (property.exists && !pathOf(text).exists() ? 'does not exist' : null)
}

def typedValue(text, type) {
    if (type == 'integer') {
        return text.isInteger() ? text.toInteger() : null
    }
    if (type == 'number') {
        return text.isNumber() ? text.toBigDecimal() : null
    }
    if (type == 'boolean') {
        return text in ['true', 'false'] ? text == 'true' : null
    }
    return text
}

def isBelow(path, folder) {
    return file(path, glob: false).toAbsolutePath().normalize().startsWith(file(folder, glob: false).toAbsolutePath().normalize())
}

def checkTogether(settings) {
    if (settings.workflow == 'denoise' && !settings.input) {
        refuse('--input is missing; give the folder of scans to denoise, or a samplesheet.')
    }
    if (settings.workflow == 'denoise' && !settings.model) {
        refuse('--model is missing; give the denoiser bundle, which is the folder `model` of a finished training run.')
    }
    if (settings.workflow != 'denoise' && !settings.input && !settings.phantom_patients) {
        refuse('--input is missing; give a cohort folder or a samplesheet, or --phantom_patients 4 for a simulated cohort.')
    }
    def weights = ['backbone_weights', 'perceptual_weights'].find { name -> settings[name] }
    if (settings.no_pretrained && weights) {
        refuse("--no_pretrained and --${weights} contradict each other; give one of them.")
    }
    if (settings.keep_private && settings.deidentification_key) {
        refuse('--keep_private and --deidentification_key contradict each other; give one of them.')
    }
    if (settings.deidentification_mapping && !settings.deidentification_key) {
        refuse('--deidentification_mapping has no effect without --deidentification_key; add it.')
    }
    if (settings.deidentification_mapping && isBelow(settings.deidentification_mapping, settings.outdir)) {
        refuse('--deidentification_mapping would lie among the results and undo their de-identification; name a file elsewhere.')
    }
    if (settings.deidentification_mapping) {
        checkMapping(settings.deidentification_mapping)
    }
    if (settings.deidentification_key && pathOf("${settings.outdir}/pipeline_info/samplesheet.csv").exists()) {
        refuse("--outdir ${settings.outdir}: holds what a run without de-identification left, which names patients; name another folder.")
    }
    def sharing = ['push', 'deidentification_key'].find { name -> settings[name] }
    if (settings.workflow != 'denoise' && sharing) {
        refuse("--${sharing} is for results that leave the house; it goes with --workflow denoise only.")
    }
    if (settings.workflow != 'sweep' && settings.sweep) {
        refuse('--sweep is a table of trainings; it goes with --workflow sweep only.')
    }
    def unkept = ['compress', 'nifti', 'keep_private'].find { name -> settings[name] }
    if (settings.workflow == 'sweep' && unkept) {
        refuse("--${unkept} is about denoised images, which a sweep measures and does not keep; leave it out.")
    }
    if (settings.workflow == 'sweep') {
        checkSweep(settings.sweep)
    }
    if (settings.workflow != 'denoise') {
        checkRecipe(settings.recipe)
        checkProtocol(settings.protocol)
    }
}

// Before the first task: what is there may be somebody's own file, and the table is written last of all.
def checkMapping(name) {
    def mapping = pathOf(name)
    if (mapping.exists() && !isMapping(mapping)) {
        refuse("--deidentification_mapping ${name}: is not a mapping that ldctpipe wrote; name another file.")
    }
    def folder = existingFolder(mapping.toAbsolutePath().parent)
    if (!java.nio.file.Files.isDirectory(folder) || !java.nio.file.Files.isWritable(folder)) {
        refuse("--deidentification_mapping ${name}: no file can be written into ${folder}; name another folder.")
    }
}

def existingFolder(folder) {
    return folder.exists() ? folder : existingFolder(folder.parent)
}

def checkRecipe(name) {
    def names = shippedRecipes().keySet().findAll { known -> !known.startsWith('_') }
    if (names && !(name in names)) {
        refuse("--recipe ${name} does not exist; there are ${names.join(', ')}.")
    }
}

def checkSweep(wanted) {
    def names = file("${projectDir}/ldctpipe/recipes/sweeps/*.yaml")*.baseName.sort().join(', ')
    if (!wanted) {
        refuse("--sweep is missing; give ${names} or the .yaml file of your own.")
    }
    if (!sweepFile(wanted).exists()) {
        refuse("--sweep ${wanted} does not exist; give ${names} or the .yaml file of your own.")
    }
}

// The file of a sweep of the package, or the user's own.
def sweepFile(wanted) {
    return wanted ==~ /(?s).*\.ya?ml/ ? pathOf(wanted) : file("${projectDir}/ldctpipe/recipes/sweeps/${wanted}.yaml", glob: false)
}

def checkProtocol(wanted) {
    def text = file("${projectDir}/ldctpipe/metrics/protocols.yaml").text
    def names = text.findAll(/(?m)^ +- name: (\S+)$/) { _line, name -> name }
    def labels = text.findAll(/(?m)^ +- name: (\S+)\s+version: (\d+)$/) { _line, name, version -> "${name}@${version}".toString() }
    if (!(wanted in labels + names)) {
        refuse("--protocol ${wanted} does not exist; there are ${labels.join(', ')}.")
    }
}

// Name and text of each recipe of the package.
def shippedRecipes() {
    def found = file("${projectDir}/ldctpipe/recipes/*.yaml").collectEntries { recipe -> [recipe.baseName, recipe.text] }
    return found.sort()
}

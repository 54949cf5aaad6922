// Free text as one quoted word in a task's script.

def shellQuoted(text) {
    return "'" + text.toString().replace("'", "'\\''") + "'"
}

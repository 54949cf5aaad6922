// Free text as one word of a task's script.

def shellQuoted(text) {
    return "'" + text.toString().replace("'", "'\\''") + "'"
}

// Refusals of a run's input: one sentence on one line, whatever characters a name contains.

def refuse(sentence) {
    System.err.println("ldctpipe: ${oneLine(sentence)}")
    exit(2)
}

// Escapes line breaks, terminal codes, direction marks and undecodable characters, which names can contain.
def oneLine(text) {
    return text.toString().replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\uFFFD]/) { sign -> String.format('\\u%04x', sign.codePointAt(0)) }
}

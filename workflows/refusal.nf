// How a run says what is wrong with its input: one sentence on one line, whatever stands in a name.

def refuse(sentence) {
    System.err.println("ldctpipe: ${oneLine(sentence)}")
    exit(2)
}

// Line breaks, terminal codes, marks of direction and what is no text, escaped: names can hold them.
def oneLine(text) {
    return text.toString().replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\uFFFD]/) { sign -> String.format('\\u%04x', sign.codePointAt(0)) }
}

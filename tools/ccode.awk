# C without its comments and with empty literals, one line out per line in: FILE:LINE: CODE. A // comment stays as "//".
FNR == 1 { in_comment = 0 }
{
	code = ""
	text = $0
	while (text != "") {
		if (in_comment) {
			at = index(text, "*/")
			if (!at)
				break
			text = substr(text, at + 2)
			in_comment = 0
		} else if (!match(text, /\/\*|\/\/|"|'/)) {
			code = code text
			break
		} else {
			token = substr(text, RSTART, RLENGTH)
			code = code substr(text, 1, RSTART - 1)
			text = substr(text, RSTART + RLENGTH)
			if (token == "/*") {
				in_comment = 1
				code = code " "
			} else if (token == "//") {
				code = code "//"
				break
			} else {
				literal = token == "\"" ? "^([^\"\\\\]|\\\\.)*\"" : "^([^'\\\\]|\\\\.)*'"
				code = code token token
				if (!match(text, literal))
					break
				text = substr(text, RSTART + RLENGTH)
			}
		}
	}
	print FILENAME ":" FNR ": " code
}

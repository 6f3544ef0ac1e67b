# Rows of X-macro tables, for check-tables and check-exports: FILE:LINE <tab> MACRO <tab> ARGUMENT <tab> ARGUMENT ...
# What is neither a row on one line, a comment, nor a guard that gives a macro an empty meaning: FILE:LINE <tab> ! <tab> TEXT.

# The line without comments; `in_comment` lives from line to line, a string is left whole.
function without_comments(text,   out, c, i, in_string) {
	out = ""
	in_string = 0
	for (i = 1; i <= length(text); i++) {
		c = substr(text, i, 1)
		if (in_comment) {
			if (c == "*" && substr(text, i + 1, 1) == "/") {
				in_comment = 0
				i++
			}
		} else if (in_string) {
			out = out c
			if (c == "\\")
				out = out substr(text, ++i, 1)
			else if (c == "\"")
				in_string = 0
		} else if (c == "/" && substr(text, i + 1, 1) == "*") {
			in_comment = 1
			i++
		} else {
			out = out c
			if (c == "\"")
				in_string = 1
		}
	}
	sub(/[ \t]+$/, "", out)
	return out
}

# MACRO(a, b, (c, d)) as a tab-separated record, or "" when it is not a whole row.
function row_of(text,   out, c, i, depth, in_string, start) {
	if (!match(text, /^[A-Z][A-Z0-9_]*\(/))
		return ""
	out = substr(text, 1, RLENGTH - 1) "\t"
	depth = 1
	in_string = 0
	start = 1
	for (i = RLENGTH + 1; i <= length(text); i++) {
		c = substr(text, i, 1)
		if (depth == 0)
			return ""
		if (in_string) {
			if (c == "\\") {
				out = out c
				c = substr(text, ++i, 1)
			} else if (c == "\"") {
				in_string = 0
			}
		} else if (c == "\"") {
			in_string = 1
		} else if (c == "(") {
			depth++
		} else if (c == ")" && --depth == 0) {
			continue
		} else if (c == "," && depth == 1) {
			out = out "\t"
			start = 1
			continue
		}
		if (start && (c == " " || c == "\t"))
			continue
		start = 0
		out = out c
	}
	return depth == 0 ? out : ""
}

FNR == 1 { in_comment = 0 }
{
	text = without_comments($0)
	if (text ~ /^[ \t]*$/ || text ~ /^#(ifndef|ifdef|undef) [A-Z0-9_]+$/ || text == "#endif" ||
	    text ~ /^#define [A-Z0-9_]+\([a-z_, .]*\)$/)
		next
	row = row_of(text)
	print FILENAME ":" FNR "\t" (row == "" ? "!\t" text : row)
}

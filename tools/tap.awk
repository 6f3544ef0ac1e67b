# Reads the TAP of one program or of several, each after a line "=program NAME", closed by "=end RESULT" (0 or OK is good).
# Prints what failed with the lines around it, and a count per program; appends "PASSED FAILED SKIPPED" to the file `counts`.
# A program that ends badly without naming a failed test, or that runs fewer tests than it planned, is one failure.

function close_program() {
	if (program == "")
		return
	bad = result != "" && result !~ /^(0|OK|EXPECTEDFAIL|SKIP)$/
	if (bad && failed == 0) {
		failed++
		printf "not ok - %s: ended with %s\n%s", program, result, tail
	} else if (planned > passed + failed + skipped) {
		failed++
		printf "not ok - %s: %d tests planned, %d seen\n%s", program, planned, passed + failed + skipped, tail
	} else if (passed + failed + skipped == 0 && !planned_none) {
		failed++
		printf "not ok - %s: no test in it\n%s", program, tail
	}
	printf "%s %s: %d passed", failed ? "FAILED" : "ok    ", program, passed
	if (failed)
		printf ", %d failed", failed
	if (skipped)
		printf ", %d skipped", skipped
	print ""
	print passed, failed, skipped >> counts
	program = ""
}

function open_program(name) {
	close_program()
	program = name
	result = tail = pending = ""
	passed = failed = skipped = planned = planned_none = kept = showing = 0
}

/^=program / { open_program(substr($0, 10)); next }
/^=end/ { result = $2; next }
/^1\.\.[0-9]+/ {
	planned = substr($1, 4) + 0
	planned_none = planned == 0 && /# *[Ss][Kk][Ii][Pp]/
	next
}
# cmocka says "not ok" of what it skips.
/^(not )?ok .*# *[Ss][Kk][Ii][Pp]/ {
	skipped++
	print "skipped - " program ": " $0
	showing = 0
	pending = ""
	next
}
/^ok / {
	passed++
	showing = 0
	pending = ""
	next
}
/^not ok / {
	failed++
	showing = 1
	line = $0
	sub(/^not ok/, "not ok - " program ":", line)
	print line
	printf "%s", pending
	pending = ""
	next
}
{
	line = "    " $0 "\n"
	if (showing)
		printf "%s", line
	else if (length(pending) < 8000)
		pending = pending line
	if (kept++ < 200)
		tail = tail line
}
END { close_program() }

# A table of functions -> a linker script that exports what a driver of the branch `branch` has, and nothing else.
# `macro` begins a row, its field `column` is the symbol, counted from 1 as the comma or bracket before it; `also`: one more.
BEGIN { FS = "[(,]"; print "{ global:" }
$1 == macro {
	name = $column
	gsub(/ /, "", name)
	if ($3 + 0 <= branch)
		print "\t" name ";"
}
END {
	if (also != "")
		print "\t" also ";"
	print "local: *; };"
}

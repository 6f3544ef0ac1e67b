# tables/nvml.def -> a linker script that exports what a driver of the branch `branch` has, and nothing else.
BEGIN { FS = "[(,]"; print "{ global:" }
/^NVML\(/ {
	since = $3 + 0
	name = $5
	gsub(/ /, "", name)
	if (since <= branch)
		print "\t" name ";"
}
END { print "local: *; };" }

# tables/cuda.def -> a linker script that exports what the interposer stands in front of, and nothing else.
BEGIN { FS = "[(, ]+"; print "{ global:" }
/^CUDA\(GUARD/ { print "\t" $4 ";" }
END { print "local: *; };" }

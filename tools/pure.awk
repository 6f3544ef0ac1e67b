# check-pure: the rules from `allow`, then on the input "defined SYMBOL" lines, then `nm -u -l`.

function pattern_of(glob) {
	gsub(/\*/, ".*", glob)
	return "^" glob "$"
}

function is_allowed(symbol, file,   i, verdict) {
	verdict = 0
	for (i = 1; i <= n_rules; i++)
		if (symbol ~ rule[i] && (only_in[i] == "" || index(file, only_in[i])))
			verdict = good[i]
	return verdict
}

BEGIN {
	while ((getline line < allow) > 0) {
		n = split(line, field, " ")
		if (n == 0 || field[1] ~ /^#/)
			continue
		n_rules++
		good[n_rules] = field[1] !~ /^!/
		sub(/^!/, "", field[1])
		rule[n_rules] = pattern_of(field[1])
		only_in[n_rules] = n > 1 ? field[2] : ""
	}
}

$1 == "defined" { ours[$2] = 1; next }
/:$/ { object = substr($0, 1, length($0) - 1); next }
$1 == "U" {
	where = NF > 2 ? $3 : object
	sub(/^.*\/src\//, "src/", where)
	if ($2 in ours || is_allowed($2, where))
		next
	print where ": calls " $2 ", which tools/pure.allow does not list"
	n_faults++
}
END { exit n_faults > 0 }

# check-layers: the first file is LAYERS, the others are sources.
# DESIGN: edges are collected first; then each file is walked through all that it reaches, so that a header
# cannot pass on what the file itself may not see. A fault is told once, where the first wrong line stands.

function fault(where, what) {
	if (!((where, what) in told)) {
		told[where, what] = 1
		print where ": " what
		n_faults++
	}
}

# src/core/job.h -> core; include/berth/slice.h -> berth; fake/x.c -> fake; tables/x.def -> tables
function folder_of(path,   parts, n) {
	n = split(path, parts, "/")
	return parts[1] == "src" || parts[1] == "include" ? parts[2] : parts[1]
}

# The file that an include names, or "" when that cannot be told.
function resolve(from, name,   dir) {
	dir = from
	sub(/[^\/]*$/, "", dir)
	while (name ~ /^\.\.\//) {
		sub(/^\.\.\//, "", name)
		sub(/[^\/]*\/$/, "", dir)
		if (name !~ /^\.\.\//)
			return dir name
	}
	if (name ~ /^berth\//)
		return "include/" name
	if (name ~ /^fake\// || name ~ /^tables\//)
		return name
	if (name ~ /\//)
		return "src/" name
	return dir name
}

function may_include(folder, path,   stem, target) {
	target = folder_of(path)
	if (target == folder || target == "tables")
		return 1
	stem = path
	sub(/^(src|include)\//, "", stem)
	sub(/\.[^.\/]*$/, "", stem)
	return (folder, target) in allowed || (folder, stem) in allowed
}

function may_see(folder, header,   dir) {
	dir = header
	sub(/\/.*/, "/", dir)
	if (header in library)
		return (folder, header) in sees
	if (dir in library)
		return (folder, dir) in sees
	return !(folder in pure) || header in pure_header
}

# root: the file whose rights are asked; at: the line of root by which we came here.
function walk(root, folder, path, at, depth,   i, next_at, next_path, header) {
	if ((root, path) in seen)
		return
	seen[root, path] = 1
	for (i = 1; i <= n_includes[path]; i++) {
		next_at = depth ? at : path ":" line_of[path, i]
		header = system_of[path, i]
		if (header != "") {
			if (!may_see(folder, header) && (!depth || may_see(folder_of(path), header)))
				fault(next_at, folder " may not see " header (depth ? ", which comes through " path : ""))
			continue
		}
		next_path = target_of[path, i]
		if (!may_include(folder, next_path)) {
			if (!depth || may_include(folder_of(path), next_path))
				fault(next_at, folder " may not include " next_path (depth ? ", which comes through " path : ""))
			continue
		}
		walk(root, folder, next_path, next_at, depth + 1)
	}
}

function find_circle(path,   i, next_path) {
	state[path] = 1
	for (i = 1; i <= n_includes[path]; i++) {
		next_path = target_of[path, i]
		if (next_path == "")
			continue
		if (!(next_path in state))
			find_circle(next_path)
		else if (state[next_path] == 1)
			fault(path ":" line_of[path, i], "includes " next_path " in a circle")
	}
	state[path] = 2
}

# LAYERS
FNR == 1 { n_files++ }
n_files == 1 {
	if (/^[ \t]*(#|$)/)
		next
	if ($1 == "pure") {
		for (i = 2; i <= NF; i++)
			if ($i ~ /^</)
				pure_header[$i] = 1
			else
				pure[$i] = 1
		next
	}
	if ($1 ~ /^</) {
		name = $1
		if (name ~ /\/>$/)
			sub(/>$/, "", name)
		library[name] = 1
		for (i = 2; i <= NF; i++)
			sees[$i, name] = 1
		next
	}
	known[$1] = 1
	for (i = 2; i <= NF; i++) {
		split($i, part, "/")
		if (part[1] != "berth" && (!(part[1] in known) || part[1] == $1))
			fault(FILENAME ":" FNR, $1 " names " $i ", which does not stand above it")
		allowed[$1, $i] = 1
	}
	next
}

# sources
FNR == 1 { files[++n_sources] = FILENAME }
/^[ \t]*#[ \t]*include[ \t]*[<"]/ {
	text = $0
	i = ++n_includes[FILENAME]
	line_of[FILENAME, i] = FNR
	if (match(text, /<[^>]*>/))
		system_of[FILENAME, i] = substr(text, RSTART, RLENGTH)
	else if (match(text, /"[^"]*"/)) {
		name = substr(text, RSTART + 1, RLENGTH - 2)
		target_of[FILENAME, i] = resolve(FILENAME, name)
		if (FILENAME ~ /^src\// && name !~ /\//)
			fault(FILENAME ":" FNR, "write \"" folder_of(FILENAME) "/" name "\"")
	}
}

END {
	for (f = 1; f <= n_sources; f++) {
		path = files[f]
		folder = folder_of(path)
		if (!(folder in known) && folder != "berth")
			fault(path ":1", "the folder " folder " has no line in src/LAYERS")
		else
			walk(path, folder, path, "", 0)
		if (!(path in state))
			find_circle(path)
	}
	exit n_faults > 0
}

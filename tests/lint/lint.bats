#!/usr/bin/env bats
# Each check of tools/ passes on a small clean tree, and fails on the same tree with one fault, naming its file and line.

setup() {
  tools="$BATS_TEST_DIRNAME/../../tools"
  tree="$BATS_TEST_TMPDIR/tree"
  out="$BATS_TEST_TMPDIR/build"
  mkdir -p "$tree/src/base" "$tree/src/core" "$tree/src/plat" "$tree/src/server" "$tree/src/keeper" "$tree/tables" \
    "$tree/tests/flow" "$tree/doc" "$out/src/base" "$out/fake"
  cp "$BATS_TEST_DIRNAME/../../src/LAYERS" "$tree/src/LAYERS"
  cp "$BATS_TEST_DIRNAME/../../.clang-format" "$tree/"
  write src/base/num.h '/*' ' * Numbers.' ' */' '#pragma once' '' '#include <stddef.h>' '' 'size_t num_len(const char *text);'
  write src/base/num.c '#include "base/num.h"' '' '#include <string.h>' '' 'size_t num_len(const char *text)' '{' \
    '	return strlen(text);' '}'
  write src/core/job.c '#include "base/num.h"'
  write src/plat/pty.h '/* Terminals. */' '#pragma once' '#include "base/num.h"'
  write src/plat/loop.h '/* The loop. */' '#pragma once'
  write src/keeper/main.c '#include "plat/pty.h"'
  write src/server/main.c '#include "plat/loop.h"' '#include "core/job.h"'
  write src/core/job.h '/* Jobs. */' '#pragma once'
  write tables/errors.def '/*' ' * ERR(NAME, code)' ' */' 'ERR(IO, "io") /* a comment */' 'ERR(FULL, "full, quite")'
  write tables/KEYS 'errors.def ERR 1 2'
}

# write FILE LINE...
write() {
  local file=$tree/$1
  shift
  printf '%s\n' "$@" >"$file"
}

# clean CHECK [ARGUMENT...]: it passes and says nothing.
clean() {
  local check=$1
  shift
  run "$tools/$check" "$@"
  echo "$output"
  [ "$status" -eq 0 ]
  [ -z "$output" ]
}

# faulty WHERE CHECK [ARGUMENT...]: it fails, and one line begins with WHERE.
faulty() {
  local where=$1 check=$2
  shift 2
  run "$tools/$check" "$@"
  echo "$output"
  [ "$status" -ne 0 ]
  grep -qF "$where: " <<<"$output"
}

# build SOURCE LIBRARY: one object in a thin library, as meson makes it.
build() {
  cc -std=gnu17 -g -O1 -I"$tree/src" -c "$tree/$1" -o "$out/src/base/object.o"
  rm -f "$out/$2"
  ar rcT "$out/$2" "$out/src/base/object.o"
}

@test "layers: a lower folder includes a higher one" {
  clean check-layers "$tree"
  write src/base/num.c '#include "base/num.h"' '#include "core/job.h"'
  faulty src/base/num.c:2 check-layers "$tree"
}

@test "layers: a sibling" {
  mkdir "$tree/src/wire" "$tree/src/sched"
  write src/wire/link.h '/* Link. */' '#pragma once'
  write src/sched/plan.c '#include "core/job.h"' '#include "wire/link.h"'
  faulty src/sched/plan.c:2 check-layers "$tree"
}

@test "layers: a circle of headers" {
  write src/core/job.h '/* Jobs. */' '#pragma once' '#include "core/node.h"'
  write src/core/node.h '/* Nodes. */' '#pragma once' '' '#include "core/job.h"'
  faulty src/core/node.h:4 check-layers "$tree"
}

@test "layers: keeper and a header of plat that is not for it, straight and through another" {
  write src/keeper/main.c '#include "plat/pty.h"' '#include "plat/loop.h"'
  faulty src/keeper/main.c:2 check-layers "$tree"
  write src/keeper/main.c '#include "base/num.h"' '#include "plat/pty.h"'
  write src/plat/pty.h '/* Terminals. */' '#pragma once' '#include "plat/loop.h"'
  faulty src/keeper/main.c:2 check-layers "$tree"
}

@test "layers: the loop outside plat, straight and through a header of plat" {
  write src/server/main.c '#include <uv.h>'
  faulty src/server/main.c:1 check-layers "$tree"
  write src/server/main.c '#include "core/job.h"' '#include "plat/loop.h"'
  write src/plat/loop.h '/* The loop. */' '#pragma once' '#include <uv.h>'
  faulty src/server/main.c:2 check-layers "$tree"
}

@test "layers: TLS and HTTP outside plat" {
  write src/server/main.c '' '#include <openssl/ssl.h>'
  faulty src/server/main.c:2 check-layers "$tree"
  write src/server/main.c '#include <http_parser.h>'
  faulty src/server/main.c:1 check-layers "$tree"
}

@test "layers: I/O in a pure folder" {
  write src/core/job.c '#include "base/num.h"' '#include <sys/socket.h>'
  faulty src/core/job.c:2 check-layers "$tree"
}

@test "layers: a folder without a line, a line that names upwards" {
  mkdir "$tree/src/extra"
  write src/extra/x.c '#include "base/num.h"'
  faulty src/extra/x.c:1 check-layers "$tree"
  rm -r "$tree/src/extra"
  write src/LAYERS 'base core' 'core' 'plat base' 'server core plat' 'keeper base plat/pty'
  faulty src/LAYERS:1 check-layers "$tree"
}

@test "pure: a clock in base" {
  build src/base/num.c src/base/libbase.a
  clean check-pure "$out" "$tree"
  write src/base/num.c '#include <time.h>' 'long now(void);' 'long now(void)' '{' '	return time(0);' '}'
  build src/base/num.c src/base/libbase.a
  faulty src/base/num.c:5 check-pure "$out" "$tree"
}

@test "pure: output in base" {
  write src/base/num.c '#include <stdio.h>' 'void hello(void);' 'void hello(void)' '{' '	puts("hello");' '}'
  build src/base/num.c src/base/libbase.a
  faulty src/base/num.c:5 check-pure "$out" "$tree"
}

@test "pure: what is allowed to one file is not to another" {
  write src/base/num.c '#include <stdlib.h>' 'void end(void);' 'void end(void)' '{' '	abort();' '}'
  build src/base/num.c src/base/libbase.a
  faulty src/base/num.c:5 check-pure "$out" "$tree"
}

@test "pure: nothing built is a fault, not a pass" {
  run "$tools/check-pure" "$out" "$tree"
  [ "$status" -ne 0 ]
}

@test "banned: by the source" {
  clean check-banned "$out" "$tree"
  write src/base/num.c '#include <string.h>' 'void f(char *a, const char *b);' 'void f(char *a, const char *b)' '{' \
    '	/* strcpy(a, b) */' '	strcpy(a, b);' '}'
  faulty src/base/num.c:6 check-banned "$out" "$tree"
  write src/base/num.c '#include <alloca.h>' 'void *g(void);' 'void *f(void)' '{' '	return alloca (4);' '}'
  faulty src/base/num.c:5 check-banned "$out" "$tree"
}

@test "banned: behind a macro, by what was built" {
  write src/base/num.c '#include <stdlib.h>' '#define NUMBER_OF atoi' 'int f(const char *a);' 'int f(const char *a)' '{' \
    '	return NUMBER_OF(a);' '}'
  mkdir -p "$out/src/base"
  cc -std=gnu17 -g -O0 -I"$tree/src" -c "$tree/src/base/num.c" -o "$out/src/base/object.o"
  faulty src/base/num.c:6 check-banned "$out" "$tree"
}

@test "banned: members and longer names are not calls of it" {
  write src/base/num.c 'struct s {' '	int (*system)(int);' '};' 'int my_system(struct s *s);' 'int my_system(struct s *s)' \
    '{' '	return s->system(1);' '}'
  clean check-banned "$out" "$tree"
}

@test "headers: one that does not compile alone" {
  clean check-headers "$tree"
  write src/base/num.h '/*' ' * Numbers.' ' */' '#pragma once' '' 'size_t num_len(const char *text);'
  run "$tools/check-headers" "$tree"
  [ "$status" -ne 0 ]
  grep -qF 'src/base/num.h:6:' <<<"$output"
}

@test "tables: a name twice, a code twice, logic, an unknown macro" {
  clean check-tables "$tree"
  write tables/errors.def 'ERR(IO, "io")' 'ERR(IO, "io2")'
  faulty tables/errors.def:2 check-tables "$tree"
  write tables/errors.def 'ERR(IO, "io")' '' 'ERR(IO2, "io")'
  faulty tables/errors.def:3 check-tables "$tree"
  write tables/errors.def 'ERR(IO, "io")' 'static int x;'
  faulty tables/errors.def:2 check-tables "$tree"
  write tables/errors.def 'ERR(IO, "io")' 'ERR(A, "a"), ERR(B, "b")'
  faulty tables/errors.def:2 check-tables "$tree"
  write tables/errors.def 'ERR(IO, "io")' 'NOTE(IO, "io")'
  faulty tables/errors.def:2 check-tables "$tree"
}

@test "exports: a symbol too many, a symbol too few" {
  cp "$tools/rows.awk" "$tools/check-exports" "$BATS_TEST_TMPDIR/"
  tools=$BATS_TEST_TMPDIR
  echo 'fake/libx.so x.def X 1' >"$tools/exports.list"
  write tables/x.def 'X(one)' 'X(two)'
  mkdir -p "$tree/fake"
  write fake/x.c 'int one(void);' 'int one(void)' '{' '	return 1;' '}' 'int two(void);' 'int two(void)' '{' '	return 2;' '}'
  cc -g -shared -fPIC "$tree/fake/x.c" -o "$out/fake/libx.so"
  clean check-exports "$out" "$tree"
  write tables/x.def 'X(one)' 'X(two)' 'X(three)'
  faulty tables/x.def:3 check-exports "$out" "$tree"
  write tables/x.def 'X(one)'
  faulty fake/x.c:7 check-exports "$out" "$tree"
  rm "$out/fake/libx.so"
  run "$tools/check-exports" "$out" "$tree"
  [ "$status" -ne 0 ]
}

@test "links: a library too many" {
  cp "$tools/check-links" "$BATS_TEST_TMPDIR/"
  tools=$BATS_TEST_TMPDIR
  printf '%s\n' '# what' 'one only libc.so.*' 'two not libm.so.*' >"$tools/links.allow"
  write src/base/num.c '#include <math.h>' 'int main(int argc, char **argv)' '{' '	return argv[0] ? (int)cos(argc) : 0;' '}'
  echo 'int main(void) { return 0; }' | cc -x c - -o "$out/one"
  cp "$out/one" "$out/two"
  clean check-links "$out"
  cc "$tree/src/base/num.c" -lm -o "$out/one"
  faulty tools/links.allow:2 check-links "$out"
  mv "$out/one" "$out/two"
  echo 'int main(void) { return 0; }' | cc -x c - -o "$out/one"
  faulty tools/links.allow:3 check-links "$out"
  rm "$out/two"
  faulty tools/links.allow:3 check-links "$out"
}

@test "style: long files, long functions, comments, typedefs, headers, work left for later, blanks" {
  clean check-style "$tree"
  { echo '#include "base/num.h"'; for i in $(seq 600); do echo "int x$i;"; done; } >"$tree/src/base/long.c"
  faulty src/base/long.c:601 check-style "$tree"
  { echo 'void f(void)'; echo '{'; for _ in $(seq 61); do echo '	g();'; done; echo '}'; } >"$tree/src/base/long.c"
  faulty src/base/long.c:2 check-style "$tree"
  write src/base/long.c '/* http://x is fine */' 'const char *s = "//";' 'int x; // not this'
  faulty src/base/long.c:3 check-style "$tree"
  write src/base/long.c 'int x;' 'typedef struct job job_t;'
  faulty src/base/long.c:2 check-style "$tree"
  write src/base/long.c 'int x;' '/* TO''DO: more */'
  faulty src/base/long.c:2 check-style "$tree"
  write src/base/long.c 'int x;' 'int y; '
  faulty src/base/long.c:2 check-style "$tree"
  rm "$tree/src/base/long.c"
  write src/base/num.h '#pragma once'
  faulty src/base/num.h:1 check-style "$tree"
  write src/base/num.h '/* Numbers. */' 'int x;'
  faulty src/base/num.h:1 check-style "$tree"
}

@test "format: a line as nobody would write it" {
  run "$tools/check-format" "$tree"
  [ "$status" -ne 77 ] || skip "no clang-format 14"
  clean check-format "$tree"
  write src/core/job.c '#include "base/num.h"' '' 'int   x ;'
  faulty src/core/job.c:3 check-format "$tree"
  "$tools/check-format" --fix "$tree"
  clean check-format "$tree"
}

@test "shell: a script and a bats file with an unquoted variable" {
  write tests/flow/good.bats '#!/usr/bin/env bats' '@test "x" {' '  true' '}'
  clean check-shell "$tree"
  write tests/flow/bad.bats '#!/usr/bin/env bats' '@test "x" {' '  a=$(ls)' '  rm $a' '}'
  run "$tools/check-shell" "$tree"
  [ "$status" -ne 0 ]
  grep -qF 'tests/flow/bad.bats:4:' <<<"$output"
  rm "$tree/tests/flow/bad.bats"
  mkdir "$tree/tools"
  write tools/run '#!/bin/sh' 'cd $1'
  run "$tools/check-shell" "$tree"
  [ "$status" -ne 0 ]
  grep -qF 'tools/run:2:' <<<"$output"
}

@test "spelling: a word that is none" {
  clean check-spelling "$tree"
  write doc/x.md '' 'This is wri''ten wrongly: recie''ve.'
  faulty doc/x.md:2 check-spelling "$tree"
}

@test "lint: the verdict is that of its checks" {
  cp -r "$tools" "$tree/tools"
  printf '#!/bin/sh\necho fault\nexit 1\n' >"$tree/tools/check-tables"
  run "$tree/tools/lint" "$out"
  [ "$status" -eq 1 ]
  grep -qx 'not ok 2 - tables' <<<"$output"
  for check in "$tree"/tools/check-*; do
    printf '#!/bin/sh\nexit 0\n' >"$check"
  done
  run "$tree/tools/lint" "$out"
  [ "$status" -eq 0 ]
}

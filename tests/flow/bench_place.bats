#!/usr/bin/env bats
# `berth bench place` over the columns of public traces: what it takes, what it refuses, and what it answers.

# shellcheck disable=SC2154
load helper

place() { timeout 60 "$BERTH_BUILD/berth" bench place --calibrate 0 "$@"; }
answer() { place --nodes n.csv --tasks t.csv -o json "$@"; }

flow_setup() {
  {
    echo sn,cpu_milli,memory_mib,gpu,model
    for i in 1 2 3 4 5 6; do echo "n$i,64000,262144,8,G2"; done
    for i in 7 8 9; do echo "n$i,32000,131072,2,T4"; done
  } >n.csv
  {
    echo name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec
    for i in 1 2 3 4 5 6 7 8 9 10; do
      echo "a$i,3152,5600,1,810,"
      echo "b$i,8000,30517,1,470,G2|T4"
      echo "c$i,4000,8192,1,1000,T4"
      echo "d$i,8000,16384,0,0,"
    done
    echo e1,32000,65536,8,1000,G2
  } >t.csv
}

@test "keys of the answer; the same seed gives the same result, another one another" {
  answer --seed 7 >out
  [ "$(jq -c '[.schema, .policy, .seed, .runs, .demand, (.decisions_per_s > 0), .audit_wrong]' out)" = '[1,"fragment",7,1,1.3,true,0]' ]
  [ "$(jq '.allocated_share > 0.3 and .allocated_share <= 1' out)" = true ]
  [ "$(jq -c '.rejected | keys_unsorted' out)" = '["cpu","fraction_to_half","fraction_above_half","gpu_1","gpu_2_to_7","gpu_8_and_more"]' ]
  [ "$(jq -c '.arrived | keys' out)" = "$(jq -c '.rejected | keys' out)" ]
  [ "$(jq '[.arrived, .rejected] | (.[0] | add) > (.[1] | add)' out)" = true ]
  answer --seed 7 >again
  [ "$(jq -S 'del(.decisions_per_s)' out)" = "$(jq -S 'del(.decisions_per_s)' again)" ]
  answer --seed 8 >other
  [ "$(jq -S 'del(.decisions_per_s, .seed)' out)" != "$(jq -S 'del(.decisions_per_s, .seed)' other)" ]
  run -0 place --nodes n.csv --tasks t.csv
  has "${lines[0]}" "of 54 devices of 9 nodes allocated"
  has "${lines[1]}" "REJECTED"
}

@test "columns in another order, further ones, quotes and CRLF make no difference" {
  answer >out
  awk -F, -v OFS=, '{ print $5, "x", $4, $3, $2, $1 }' n.csv | sed '1s/x/further/' >n2.csv
  awk -F, -v OFS=, '{ print $6, $5, "\"a, \"\"b\"\"\"", $4, $3, $2, $1 }' t.csv | sed '1s/"a, ""b"""/further/' >t2.csv
  answer --nodes n2.csv --tasks t2.csv >other
  [ "$(jq -S 'del(.decisions_per_s)' out)" = "$(jq -S 'del(.decisions_per_s)' other)" ]
  sed 's/$/\r/' n.csv >n3.csv
  sed 's/,\([^,]*\)$/,"\1"/; s/$/\r/' t.csv >t3.csv
  answer --nodes n3.csv --tasks t3.csv >other
  [ "$(jq -S 'del(.decisions_per_s)' out)" = "$(jq -S 'del(.decisions_per_s)' other)" ]
}

@test "a gpu_spec is kept to; none, or no such column, means any" {
  # More than the T4 nodes have, and nobody else asks.
  { head -n 1 t.csv && for i in 1 2 3 4 5 6 7; do echo "c$i,1000,1024,1,1000,T4"; done; } >t4.csv
  [ "$(place --nodes n.csv --tasks t4.csv --demand 0.13 -o json | jq .rejected.gpu_1)" = 1 ]
  sed 's/T4$/T4|G2/' t4.csv >either.csv
  [ "$(place --nodes n.csv --tasks either.csv --demand 0.13 -o json | jq .rejected.gpu_1)" = 0 ]
  cut -d, -f1-5 t4.csv >any.csv
  [ "$(place --nodes n.csv --tasks any.csv --demand 0.13 -o json | jq .rejected.gpu_1)" = 0 ]
  sed 's/T4$//' t4.csv >empty.csv
  [ "$(place --nodes n.csv --tasks empty.csv --demand 0.13 -o json | jq .rejected.gpu_1)" = 0 ]
  sed 's/T4$/H9/' t4.csv >nobody.csv
  [ "$(place --nodes n.csv --tasks nobody.csv --demand 0.13 -o json | jq .rejected.gpu_1)" = 7 ]
}

@test "every policy, random included; seeds are averaged; an audit finds nothing" {
  for policy in fragment pack spread fgd random; do
    answer --policy "$policy" --seed 1-3 >out
    [ "$(jq -c '[.policy, .runs]' out)" = "[\"$policy\",3]" ]
  done
  for policy in fragment pack spread fgd; do
    [ "$(answer --policy "$policy" --audit | jq .audit_wrong)" = 0 ]
    [ "$(answer --policy "$policy" --audit --load 0.9 | jq .audit_wrong)" = 0 ]
  done
  [ "$(answer --load 0.9 | jq '[.rows[].mean_wait >= 0] | all')" = true ]
}

# refused WORDS ARGUMENT...: fails, and says so.
refused() {
  run ! place --nodes n.csv --tasks t.csv "${@:2}"
  has "$output" "$1"
}

@test "bad files are refused with their line" {
  refused "cannot open none.csv" --nodes none.csv
  refused "cannot open none.csv" --tasks none.csv
  : >none
  refused "none is empty" --tasks none
  head -n 1 t.csv >none
  refused "none names no task" --tasks none
  head -n 1 n.csv >none
  refused "none names no GPU" --nodes none
  sed '1s/num_gpu/gpus/' t.csv >bad.csv
  refused "bad.csv has no column 'num_gpu'" --tasks bad.csv
  sed '3s/8000/8 cores/' t.csv >bad.csv
  refused "bad.csv:3: cpu_milli" --tasks bad.csv
  sed '3s/470/1470/' t.csv >bad.csv
  refused "bad.csv:3: gpu_milli" --tasks bad.csv
  sed '3s/470/0/' t.csv >bad.csv
  refused "bad.csv:3: gpu_milli of one GPU is 1 to 1000" --tasks bad.csv
  sed '3s/470/-1/' t.csv >bad.csv
  refused "bad.csv:3: gpu_milli" --tasks bad.csv
  sed '4s/,.*//' t.csv >bad.csv
  refused "bad.csv:4:" --tasks bad.csv
  sed '3s/b1/"b1/' t.csv >bad.csv
  refused "bad.csv:3: a quoted field does not end in its line" --tasks bad.csv
  sed '5s/,8,/,65,/' n.csv >bad.csv
  refused "bad.csv:5: gpu" --nodes bad.csv
  sed '5s/262144/999999999999999999999/' n.csv >bad.csv
  refused "bad.csv:5: memory_mib" --nodes bad.csv
}

@test "bad options are refused by name" {
  refused "--demand: 'much' is not from 0.001 to 10" --demand much
  refused "--demand: '0' is not" --demand 0
  refused "--demand: '1.3x' is not" --demand 1.3x
  refused "--load: '-1' is not" --load -1
  refused "--seed" --seed x
  refused "--seed: N-M is a range" --seed 9-1
  refused "--policy: 'best' is not fragment, pack, spread, fgd or random" --policy best
  refused "--calibrate" --calibrate 31
  run ! timeout 10 "$BERTH_BUILD/berth" bench place --nodes n.csv
  has "$output" "--nodes and --tasks are needed"
}

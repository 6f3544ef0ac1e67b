#!/usr/bin/env bats
# `-n`: several tasks of one job, on one node, all or none: ranks, ends, labels, what they share.

load helper

flow_setup() { up; }

api() { as curl -sS --max-time 20 --unix-socket "$D/berth.sock" "http://berth$1" "${@:2}"; }
# Whether nothing of job $1 runs any more.
none_of() { ! grep -lsazE "^BERTH_JOB_ID=$1\$" /proc/[0-9]*/environ | grep -q .; }

@test "each task has its rank, and they find each other" {
  run -0 --separate-stderr b run -n 3 -c 0 -- sh -c 'echo $BERTH_RANK $RANK $LOCAL_RANK of $BERTH_TASKS $WORLD_SIZE $LOCAL_WORLD_SIZE, $BERTH_CPUS'
  [ "$(sort <<<"$output")" = $'0 0 0 of 3 3 3, 0\n1 1 1 of 3 3 3, 0\n2 2 2 of 3 3 3, 0' ]
  [ "$(job 1 '[.request.tasks, .request.cpus, .attempts[0].ended_by_task] | tojson')" = '[3,0,null]' ]
  # As torch.distributed does it: rank 0 listens where the variables say, at every address, the others come to it.
  cat >meet.py <<'END'
import os, socket, time
at = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if os.environ["RANK"] == "0":
    with socket.create_server(("", at[1])) as s:
        names = sorted(s.accept()[0].recv(9).decode() for _ in range(int(os.environ["WORLD_SIZE"]) - 1))
    print("met", *names)
else:
    for _ in range(400):
        try:
            socket.create_connection(at).sendall(os.environ["RANK"].encode())
            break
        except ConnectionRefusedError:
            time.sleep(0.02)
END
  chmod 644 meet.py
  run -0 --separate-stderr b run -n 3 -c 0 -e MASTER_PORT=1 -- python3 meet.py
  [ "$output" = "met 1 2" ]
  # Its own CPU each, where there are so many.
  if [ "$(nproc)" -ge 2 ]; then
    run -0 --separate-stderr b run -n 2 -- sh -c 'echo $BERTH_CPUS; nproc; taskset -pc $$ | sed "s/.*: //" >cpu$RANK'
    [ "$output" = $'1\n1\n1\n1' ]
    ! cmp cpu0 cpu1
  fi
  # Who submits from a task does not pass on whose rank it was; a job without -n has none.
  run -0 --separate-stderr b run -n 1 -c 0 -e "B=$BERTH_BUILD/berth" -- sh -c 'echo $RANK; exec $B run -c 0 -- sh -c "echo \${RANK-none} \${BERTH_TASKS-none} \${MASTER_PORT-none}"'
  [ "$output" = $'0\nnone none none' ]
}

@test "the first that fails ends the others, and the job with its code" {
  run -3 b run -n 3 -c 0 -- sh -c '[ $RANK != 1 ] || exit 3; exec sleep 600'
  has "$(b show 1)" "exit code 3, by rank 1"
  [ "$(job 1 '[.exit_code, .attempts[0].ended_by_task, .reasons[0].text] | tojson')" = '[3,1,"exit code 3, by rank 1"]' ]
  run -139 b run -n 2 -c 0 -- sh -c '[ $RANK != 0 ] || kill -SEGV $$; exec sleep 600'
  [ "$(job 2 '.reasons[0].text')" = "ended by signal 11, by rank 0" ]
  run -124 b run -n 2 -c 0 -t 1s -- sleep 600
  [ "$(job 3 '[.state, .attempts[0].ended_by_task] | tojson')" = '["TIMEOUT",null]' ]
  run -127 b run -n 2 -c 0 -- /no/such/command
  has "$output" "starting rank 0: running '/no/such/command'"
  # Another attempt is of all of them.
  run -0 b run -n 2 -c 0 --retry 2 --retry-on 7 -- sh -c '[ $BERTH_ATTEMPT = 2 ] && exit 0; [ $RANK = 1 ] && exit 7; exec sleep 600'
  [ "$(job 5 '[.attempt, .attempts[0].ended_by_task, .attempts[1].ended_by_task] | tojson')" = '[2,1,null]' ]
  eventually none_of 5
}

@test "lines say whose they are, and are whole" {
  run -0 --separate-stderr b run -n 2 -c 0 --label -- sh -c 'printf a; printf "b\nlast"; echo err >&2'
  [ "$(sort <<<"$output")" = $'0: ab\n0: last\n1: ab\n1: last' ]
  # shellcheck disable=SC2154
  [ "$(grep -v ^berth <<<"$stderr" | sort)" = $'0: err\n1: err' ]
  # One that is longer than 16 KiB comes in pieces; one that is killed leaves no half line before another's.
  b run -n 3 -c 0 --label -- sh -c 'i=0; while [ $i -lt 20 ]; do head -c 20000 /dev/zero | tr "\0" $RANK; echo; i=$((i+1)); done; printf part; touch did$RANK; [ $RANK = 2 ] || exec sleep 600; while [ ! -e did0 ] || [ ! -e did1 ]; do sleep 0.02; done; kill -KILL $$' >out 2>err && false || [ $? -eq 137 ]
  [ "$(awk -F ': ' '{ rank = $1; n = gsub(rank, "", $2); print rank, n, $2 }' out | sort | uniq -c | tr -s ' ')" = "$(
    for i in 0 1 2; do printf ' 20 %d 16384 \n 20 %d 3616 \n 1 %d 0 part\n' $i $i $i; done | sort -k 2,2n -k 3,3
  )" ]
}

@test "tasks share a slice, and what is beside them" {
  cp "$FLOW_BUILD/tests/flow/flow-cuda" cuda
  chmod 755 cuda
  # 4 GiB for both: 3 GiB are there once.
  run -0 b run -n 2 -c 0 --gpu 0.5 -- sh -c './cuda alloc 3221225472 hold >got$RANK & while [ ! -s got0 ] || [ ! -s got1 ]; do sleep 0.02; done; kill $!'
  [ "$(cat got0 got1 | sort | uniq -c | tr -s ' ')" = "$(printf ' 1 alloc: 0\n 1 alloc: 2')" ] || { cat got0 got1; false; }
  [ "$(b gpus -o json | jq '[.devices[].slices[]] | length')" = 0 ]
  # An array of such jobs; a command beside a job; a cancel ends all.
  b submit -n 2 -c 0 --array 0-1 -- sh -c 'echo $BERTH_TASK_ID.$RANK'
  run -0 b wait 2
  [ "$(b logs 2_1 | sort)" = $'1.0\n1.1' ]
  b submit -n 2 -c 0 -- sh -c 'touch ready$RANK; exec sleep 600'
  eventually test -e ready0 -a -e ready1
  run -0 b exec 3 -- sh -c 'echo $BERTH_JOB_ID ${RANK-none}'
  has "$output" "3 none"
  b cancel 3
  run -143 b wait 3
  eventually none_of 3
}

@test "they outlive the agent, and not their keeper" {
  b submit -n 2 -c 0 -- sh -c 'touch up$RANK; while [ ! -e go ]; do sleep 0.05; done; [ $RANK = 0 ] || exit 4; exec sleep 600'
  eventually test -e up0 -a -e up1
  kill -9 "$(part agent)" "$(part server)"
  as touch go
  run -4 b wait 1
  [ "$(job 1 '[.attempt, .attempts[0].ended_by_task] | tojson')" = '[1,1]' ]
  b submit -n 2 -c 0 --no-retry -- sh -c 'touch on$RANK; setsid sleep 600 & exec sleep 600'
  eventually test -e on0 -a -e on1
  kill -9 "$(awk '/^PPid/ { print $2 }' "/proc/$(job 2 '.attempts[0].pid')/status")"
  run ! b wait 2
  [ "$(job 2 '.reasons[0].code')" = keeper_killed ]
  eventually none_of 2
}

@test "what cannot be is refused, naming it" {
  for n in 0 -1 257 99999999999 two 1.5 ''; do
    run -125 b run -n "$n" -- true
    has "$output" --tasks
  done
  for n in 0 -1 257 1.5 '"2"' true '[]'; do
    has "$(api /v1/jobs -d "{\"command\":[\"true\"],\"tasks\":$n}")" "'tasks' must be a whole number from 1 to 256"
  done
  has "$(api /v1/jobs -d '{"command":["true"],"tasks":2,"label":1}')" "'label' must be true or false"
  has "$(api /v1/jobs -d '{"command":["true"],"tasks":2,"tty":true}')" "a terminal is of one task"
  run -2 b submit --label -- true
  has "$output" "'tasks' must say how many"
  # All of them, or none: two where there is room for one and a half would not help.
  run -1 b submit -n 256 -c 1024 -- true
  has "$output" "no node could ever satisfy 262144 CPUs for 256 tasks"
  # The change that would do is taken.
  cpus=$(b nodes -o json | jq '.nodes[0].cpus')
  b submit -c "$cpus" -- sh -c 'while [ ! -e go ]; do sleep 0.05; done'
  becomes 1 RUNNING
  b submit -n 2 -c 0 --gpu 1 -- true
  run -0 b wait 2
  if [ "$cpus" -le 256 ]; then
    b submit -n "$cpus" -- true
    run -0 b why 3
    has "$output" "needs $cpus CPU$([ "$cpus" = 1 ] || echo s for its tasks); $(b nodes -o name) has 0 of $cpus free"
    b edit 3 tasks=1
    [ "$(job 3 .request.tasks)" = 1 ]
    as touch go
    run -0 b wait 3
  fi
}

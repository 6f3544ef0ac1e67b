/*
 * Plays a scene: a world, what happens in it, and what is expected, one step a line. A scene is text so that the rules of
 * placement can be read, and written, without C.
 *
 *   # comment                                     -- the first lines say what the scene shows
 *   fgpu 2                                        -- fGPU per device; before anything else
 *   node NAME cpus=8 mem=32G gpus=2x8G [model=M] [cc=80] [cuda=12040] [driver=550.54] [near=0-3/4-7] [numa=0/1] [labels=A,B=C]
 *                                                 -- devices are NAME:0, NAME:1 ...
 *   queue NAME [priority=N] [order=strict|backfill] [patience=DURATION] [max_running=N] [max_running_per_user=N] [max_gpus=N]
 *         [nodes=PATTERN,@LABEL,...]
 *   submit NAME KEY=VALUE... FLAG...              -- the keys of a job as JSON, `after_ok=OTHER,...`; flags: hold no_retry
 *   refuse KEY=VALUE... "text"                    -- no node could ever take it, and the message says so
 *   plan [MOST]                                   -- one plan, applied
 *   run NAME... | end NAME [CODE] | lose NAME     -- reports on what was started
 *   cancel|hold|release|retry NAME, edit NAME KEY=VALUE...
 *   drain|resume|down|up NODE, lost|well NODE:DEV, withhold NODE:DEV SIZE, pause|unpause QUEUE, pass DURATION
 *   expect NAME STATE [on NODE[:DEV,...]] [mem SIZE] [share N] [cpus N,...] [reason CODE] ["text"]
 *   why NAME [position N] [ahead N] [earliest DURATION|never] [change "--gpu 0.3"|none] [missing "text"]   -- of the first node
 *   starts NAME...                                -- exactly these, in this order, in the last plan
 *   heads NAME:NODE:WHEN...                       -- who comes first of those that wait in its queue, in the last plan; WHEN
 *                                                    is a time from now (`60s`), `unknown`, or `kept` without a known time
 *
 * A task of the array `a` is `a_3`. Every step is followed by a check of all invariants.
 */
#pragma once

/* Fails by cmocka's asserts, naming file and line. */
void scene_play(const char *path);

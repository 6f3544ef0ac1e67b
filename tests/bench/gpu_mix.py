#!/usr/bin/env python3
"""gpu_mix.py NODES.csv TASKS.csv [VARIANT]: a cluster and a list of tasks in the shape of a published GPU trace.

Made up from what is public about that trace: 1,213 nodes with 6,212 devices, how many of each model stand in nodes of which
size, cores per device; 8,152 tasks, of which 1,088 ask for no device, 3,078 for a part of one, 44 for eight; the commonest
parts (0.81, 0.47, 0.32, 0.65), and 10.9 cores per device on average. Always the same two files. For `berth bench place`.
Variants, like those of the trace: `fractions` (no task asks for a whole device), `cpu` (2.5 times the tasks without a
device), `several` (half of the demand is of tasks with several devices), `models` (a third of the tasks wish for a model).
"""
import csv
import random
import sys

# nodes, model, devices of each, cores, MiB
NODES = [
    (549, "G2", 8, 96, 524288),
    (39, "G3", 8, 128, 1048576),
    (25, "V100M32", 8, 96, 393216),
    (4, "V100M16", 8, 96, 393216),
    (17, "T4", 4, 96, 262144),
    (36, "V100M16", 4, 48, 196608),
    (1, "V100M32", 4, 48, 196608),
    (387, "T4", 2, 104, 524288),
    (131, "P100", 2, 20, 131072),
    (19, "V100M16", 1, 12, 65536),
    (3, "P100", 1, 10, 65536),
    (2, "A10", 1, 16, 65536),
]
# tasks, thousandths of a CPU, MiB, devices, thousandths of one
TASKS = [
    (1078, 3152, 5600, 1, 810),
    (620, 8000, 30517, 1, 470),
    (130, 11908, 47104, 1, 470),
    (190, 8000, 30517, 1, 320),
    (138, 4000, 15258, 1, 320),
    (253, 8000, 30517, 1, 650),
    (110, 6000, 12288, 1, 460),
    (140, 4000, 15258, 1, 220),
    (90, 4000, 15258, 1, 160),
    (40, 4000, 15258, 1, 110),
    (60, 4152, 10600, 1, 550),
    (60, 4000, 30517, 1, 230),
    (20, 4000, 15258, 1, 50),
    (30, 8000, 30517, 1, 440),
    (1170, 3152, 5600, 1, 1000),
    (980, 18708, 64512, 1, 1000),
    (480, 16000, 32768, 1, 1000),
    (220, 16000, 65536, 1, 1000),
    (420, 12000, 24576, 1, 1000),
    (190, 12000, 16384, 1, 1000),
    (150, 11908, 47104, 1, 1000),
    (90, 8000, 16384, 1, 1000),
    (60, 8000, 32768, 1, 1000),
    (70, 4000, 24576, 1, 1000),
    (16, 24000, 98304, 2, 1000),
    (15, 40000, 163840, 4, 1000),
    (36, 88000, 327680, 8, 1000),
    (8, 64000, 262144, 8, 1000),
]
CPU_ONLY = [(350, 8000, 16384), (300, 16000, 32768), (338, 32000, 65536), (100, 4000, 8192)]
N_TASKS = 8152


def rare(draw, n):
    """Parts and needs that few ask for: most of the kinds of a real list."""
    for _ in range(n):
        milli = draw.choice((90, 130, 190, 270, 300, 380, 500, 520, 590, 700, 750, 900, 970))
        yield (1, draw.choice((2000, 4000, 6000, 8000, 10000)), 4096 * draw.randint(1, 8), 1, milli)


WISHES = ("G2", "G2", "T4", "T4", "V100M16|V100M32", "V100M32", "P100", "G2|G3")
EIGHTS = ("G2", "G2|G3", "V100M16|V100M32")


def wish(draw, task):
    """A model for every third task with devices; those of eight wish for what there is in nodes of eight."""
    _, _, gpu, milli = task
    if not gpu or draw.random() >= 1 / 3:
        return ""
    return draw.choice(EIGHTS if gpu > 2 else WISHES)


def vary(tasks, variant):
    if variant == "fractions":
        parts = [t for t in tasks if t[2] and t[3] < 1000]
        rest = [t for t in tasks if not t[2]]
        return rest + [parts[i % len(parts)] for i in range(len(tasks) - len(rest))]
    if variant == "cpu":
        without = [t for t in tasks if not t[2]]
        return tasks + without + without[: len(without) // 2]
    if variant == "several":
        return tasks + 12 * [t for t in tasks if t[2] > 1]
    return tasks


def main():
    draw = random.Random(1)
    variant = sys.argv[3] if len(sys.argv) > 3 else ""
    if variant not in ("", "fractions", "cpu", "several", "models"):
        sys.exit("gpu_mix.py: no variant " + variant)
    with open(sys.argv[1], "w", newline="") as f:
        out = csv.writer(f)
        out.writerow(("sn", "cpu_milli", "memory_mib", "gpu", "model"))
        rows = [(model, gpu, cores, mib) for n, model, gpu, cores, mib in NODES for _ in range(n)]
        draw.shuffle(rows)
        for i, (model, gpu, cores, mib) in enumerate(rows):
            out.writerow(("node-%04d" % i, cores * 1000, mib, gpu, model))
    tasks = [t[1:] for t in TASKS for _ in range(t[0])]
    tasks += [(cpu, mib, 0, 0) for n, cpu, mib in CPU_ONLY for _ in range(n)]
    tasks += [t[1:] for t in rare(draw, N_TASKS - len(tasks))]
    tasks = vary(tasks, variant)
    draw.shuffle(tasks)
    with open(sys.argv[2], "w", newline="") as f:
        out = csv.writer(f)
        out.writerow(("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec"))
        for i, t in enumerate(tasks):
            out.writerow(("task-%04d" % i,) + t + (wish(draw, t) if variant == "models" else "",))


main()

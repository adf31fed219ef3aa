#!/usr/bin/env python3
"""Times Kenar beside other runtimes on ONNX files and prints one table.

    pip install -r benches/peers/requirements.txt
    cargo build --release -p kenar-convert -p kenar-benches
    python benches/peers/compare.py resnet50.onnx                          # random input, good for timing
    python benches/peers/compare.py net.onnx --samples batch.npy --threads 1,2 --json out.json
    python benches/peers/compare.py net.onnx --threads 2 --load 1          # beside a program that computes all the time

Every runtime quantises the file its own way, with the same few inputs. Then each is one process, pinned to the same cores; they
take turns (A B C, then C B A, ...) while the others are stopped. What counts is a ratio within a row: the times of one run on a
machine that does other things as well compare with each other, not with those of another run.

With --load N, N further processes compute without a pause on the first N of these cores, one on each, while a runtime is timed:
what is left of its speed when it has to share.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import runtimes  # noqa: E402

SAMPLES = 4


def note(text):
    print(text, file=sys.stderr, flush=True)


class Worker:
    """A runtime's process. It stops itself between turns, so that its threads do not spin while others are timed."""

    def __init__(self, name, job, description, threads, cpus, alone):
        self.name, self.rounds = name, []
        runtime = runtimes.get(name)
        command = ["taskset", "-c", cpus]
        if alone and os.geteuid() == 0:
            # A real-time class keeps other programs out of the figures, for all runtimes alike.
            command = ["chrt", "-r", "10", *command]
        if hasattr(runtime, "command"):
            command += runtime.command(job, threads)
        else:
            command += [sys.executable, str(HERE / "worker.py"), name, str(description), str(threads)]
        variables = {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads), **runtimes.environment(job.isa)}
        self.errors = job.made(f".{name}.stderr")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors.open("w"),
            text=True,
            env=os.environ | variables,
        )
        self.loaded = self._answer()
        self.process.send_signal(signal.SIGSTOP)

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            lines = self.errors.read_text().strip().splitlines() or ["ended without a word"]
            raise runtimes.Unavailable(lines[-1].removeprefix("runtimes.Unavailable: ")[-300:])
        return json.loads(line)

    def _ask(self, what):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self._answer()

    def turn(self, seconds, counts=True):
        times = self._ask(f"B {seconds}")
        self.process.send_signal(signal.SIGSTOP)
        if counts:
            self.rounds.append(times)

    def finish(self):
        peak = self._ask("Q")
        self.process.wait()
        times = sorted(t for turn in self.rounds for t in turn)
        medians = [statistics.median(turn) for turn in self.rounds]
        return {
            **self.loaded,
            **peak,
            "median_ms": statistics.median(medians),
            "p90_ms": times[int(0.9 * (len(times) - 1))],
            "min_ms": times[0],
            "round_medians_ms": medians,
            "runs": len(times),
        }

    def kill(self):
        self.process.kill()


class Load:
    """Processes that count, each on one core, while they are let."""

    COUNT = "while True:\n    pass"

    def __init__(self, cpus):
        self.processes = [
            subprocess.Popen(["taskset", "-c", cpu, sys.executable, "-c", self.COUNT], stdin=subprocess.DEVNULL)
            for cpu in cpus
        ]
        self._signal(signal.SIGSTOP)

    def _signal(self, number):
        for process in self.processes:
            process.send_signal(number)

    def __enter__(self):
        self._signal(signal.SIGCONT)

    def __exit__(self, *_):
        self._signal(signal.SIGSTOP)

    def kill(self):
        for process in self.processes:
            process.kill()
            process.wait()


def prepare(name, job):
    """Makes the runtime's model in a process of its own, where its libraries' memory and messages stay."""
    code = f"import sys; sys.path.insert(0, {str(HERE)!r}); sys.argv[0] = 'prepare'\n"
    code += "import json, pathlib, runtimes\n"
    code += "paths = json.loads(sys.argv[1]); isa = paths.pop('isa')\n"
    code += "job = runtimes.Job(**{k: pathlib.Path(v) for k, v in paths.items()}, isa=isa)\n"
    code += "runtime = runtimes.get(sys.argv[2])\n"
    code += "try:\n    runtime.prepare(job)\nexcept runtimes.Unavailable as e:\n    sys.exit('unavailable: ' + str(e))\n"
    code += "print('label: ' + runtime.label())\n"
    done = subprocess.run([sys.executable, "-c", code, describe(job), name], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["failed without a word"]
        raise runtimes.Unavailable(lines[-1].removeprefix("unavailable: ")[-300:])
    return next(line[7:] for line in reversed(done.stdout.splitlines()) if line.startswith("label: "))


def describe(job):
    return json.dumps({key: str(value) if value is not None else None for key, value in dataclasses.asdict(job).items()})


def random_samples(onnx_file, path):
    """Inputs of the network's size, from a fixed seed; an input size that the file leaves open is an error."""
    import numpy
    import onnx

    graph = onnx.load(str(onnx_file), load_external_data=False).graph
    weights = {w.name for w in graph.initializer}
    value = next(i for i in graph.input if i.name not in weights)
    shape = [d.dim_value for d in value.type.tensor_type.shape.dim][1:]
    if len(shape) != 3 or not all(shape):
        sys.exit(f"{onnx_file}: input '{value.name}' has the shape {shape}, expected [C, H, W]; give inputs with --samples")
    numbers = numpy.random.default_rng(1).standard_normal((SAMPLES, *shape), dtype=numpy.float32)
    numpy.save(path, numbers)


def compare(job, names, threads, options):
    """One model with one thread count: a list of records, one per runtime."""
    description = job.made(".job.json")
    description.write_text(describe(job))
    cpus = options.cpus or ",".join(map(str, sorted(os.sched_getaffinity(0))[-threads:]))
    workers, records = [], []
    for name in names:
        record = {"model": job.onnx.stem, "runtime": name, "threads": threads, "isa": job.isa, "load": options.load}
        records.append(record)
        try:
            note(f"{job.onnx.stem}: preparing {name}")
            record["label"] = prepare(name, job)
            alone = not options.load
            workers.append((Worker(name, job, description, threads, cpus, alone), record))
        except runtimes.Unavailable as reason:
            record["unavailable"] = str(reason)
            note(f"{job.onnx.stem}: {name} is left out: {reason}")
    load = Load(cores(cpus)[: options.load])
    try:
        for worker, _ in workers:
            worker.turn(options.seconds, counts=False)
        for turn in range(options.rounds):
            note(f"{job.onnx.stem}, {threads} threads: round {turn + 1} of {options.rounds}")
            for worker, _ in workers if turn % 2 == 0 else workers[::-1]:
                with load:
                    worker.turn(options.seconds)
        for worker, record in workers:
            record.update(worker.finish())
    finally:
        load.kill()
        for worker, _ in workers:
            worker.kill()
    return records


def cores(cpus):
    """The cores of a list as `taskset` takes it: `0,2-4`."""
    found = []
    for part in cpus.split(","):
        first, _, last = part.partition("-")
        found += map(str, range(int(first), int(last or first) + 1))
    return found


def table(records):
    """Markdown: a row per model and thread count, milliseconds and how much faster Kenar is."""
    labels = {r["runtime"]: r["label"] for r in records if "label" in r}
    columns = [n for n in dict.fromkeys(r["runtime"] for r in records) if n in labels]
    print("| model | threads | " + " | ".join(f"{labels[n]}, ms" for n in columns) + " |")
    print("| --- | ---: |" + " ---: |" * len(columns))
    rows = {}
    for record in records:
        rows.setdefault((record["model"], record["threads"]), {})[record["runtime"]] = record
    for (model, threads), row in rows.items():
        ours = row.get("kenar", {}).get("median_ms")
        cells = []
        for name in columns:
            if "median_ms" not in row.get(name, {}):
                cells.append("–")
                continue
            ms = row[name]["median_ms"]
            ratio = f" ({ms / ours:.2f}x)" if ours and name != "kenar" else ""
            cells.append(f"{ms:.3g}{ratio} · {row[name]['peak_rss_mb']:.0f} MB")
        print(f"| {model} | {threads} | " + " | ".join(cells) + " |")
    print("\nMedian of the rounds' medians; in brackets how many times longer than Kenar; peak resident memory.")
    if load := max((r["load"] for r in records), default=0):
        print(f"Beside another process that computes all the time on {'one core' if load == 1 else f'each of {load} cores'}.")
    for record in records:
        if "unavailable" in record:
            print(f"{record['model']}: {record['runtime']} left out: {record['unavailable']}")


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("onnx", nargs="+", type=pathlib.Path, help="float ONNX files")
    p.add_argument("--samples", type=pathlib.Path, help=".npy, float32 [N, C, H, W], for calibration; the first is timed")
    p.add_argument("--runtimes", default="kenar,onnxruntime,openvino,litert,ncnn", help="which, separated by commas")
    p.add_argument("--threads", default="1", help="thread counts, separated by commas")
    p.add_argument("--cpus", help="cores for every runtime [default: the last ones]")
    p.add_argument("--isa", choices=list(runtimes.ONEDNN), help="hold runtimes that have a switch for it to this instruction set")
    p.add_argument("--load", type=int, default=0, metavar="N", help="keep N of the cores busy with another process each")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--seconds", type=float, default=0.5, help="per runtime and round")
    p.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("target/peers"), help="for the models that are made")
    p.add_argument("--kenar", type=pathlib.Path, default=HERE.parents[1] / "target/release", help="folder of the binaries")
    p.add_argument("--json", type=pathlib.Path, help="write every figure to this file")
    options = p.parse_args()
    if options.load < 0 or options.load > min(map(int, options.threads.split(","))):
        p.error(f"--load {options.load}: expected 0 to the number of threads, a core for each")
    return options


def main():
    options = arguments()
    records = []
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for onnx_file in options.onnx:
        if not onnx_file.is_file():
            sys.exit(f"{onnx_file}: no such file")
        folder = (options.folder / onnx_file.stem).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        calibration = (options.samples or folder / "samples.npy").resolve()
        if not calibration.exists():
            random_samples(onnx_file, calibration)
        job = runtimes.Job(onnx_file.resolve(), folder, calibration, options.kenar.resolve(), options.isa)
        for threads in map(int, options.threads.split(",")):
            records += compare(job, options.runtimes.split(","), threads, options)
    table(records)
    if options.json:
        options.json.write_text(json.dumps({"started": started, "records": records}, indent=1))


if __name__ == "__main__":
    main()

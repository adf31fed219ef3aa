#!/usr/bin/env python3
"""One model in one runtime, timed on request: started by compare.py.

`worker.py RUNTIME JOB.json THREADS` prints one JSON line when it is loaded; then `B SECONDS` answers with a JSON list of
milliseconds per inference, `Q` with the peak memory and ends. benches/src/bin/peer_worker.rs speaks the same protocol.
"""

import json
import os
import pathlib
import sys
import time


def peak_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def main():
    import runtimes

    # Libraries print to standard output; the answers have it to themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name, job, threads = sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text()), int(sys.argv[3])
    paths = {key: pathlib.Path(job[key]) for key in ("onnx", "folder", "calibration", "kenar")}
    start = time.perf_counter()
    run = runtimes.get(name).load(runtimes.Job(**paths, isa=job["isa"]), threads)
    load_ms = 1e3 * (time.perf_counter() - start)
    start = time.perf_counter()
    run()
    first_ms = 1e3 * (time.perf_counter() - start)
    print(json.dumps({"load_ms": round(load_ms, 2), "first_ms": round(first_ms, 3)}), file=answers, flush=True)
    for line in sys.stdin:
        if not line.startswith("B"):
            print(json.dumps({"peak_rss_mb": round(peak_mb(), 1)}), file=answers, flush=True)
            os._exit(0)
        seconds, begin, times = float(line[1:]), time.perf_counter(), []
        while len(times) < 3 or time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            run()
            times.append(round(1e3 * (time.perf_counter() - start), 4))
        print(json.dumps(times), file=answers, flush=True)


if __name__ == "__main__":
    main()

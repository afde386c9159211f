# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what this collection costs with what people do without it, and with the least that the API needs.

Each measurement has a simulator of its own, whose snapshots and restores take 5 s and whose answers take 50 ms each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import (
    APPROACHES,
    FLEET,
    HOSTS,
    LIMIT,
    ROLES,
    URI_5,
    URI_50,
    Figures,
    Goal,
    Results,
    capacity_goal,
    describe_work,
    figures_table,
    goals,
    goals_table,
)

HERE = Path(__file__).resolve().parent
SIMULATOR = HERE.parent / "simulator"
KEY = "simulator-key"
RUN_ID = "20260131T235959Z-1a2b"
SNAPSHOT_NAME = f"maint-{RUN_ID}"
CONCURRENCY = 16
PER_SECOND = 50.0
WORKS = ("snapshot", "restore")
LATENCY = 0.05
SETTINGS = {"snapshot_seconds": 5.0, "restore_seconds": 5.0, "latency_seconds": LATENCY}
MOST_A_SECOND = CONCURRENCY / LATENCY
CAPACITY_MACHINES = 3000
LONGEST = 7200.0

# How many hosts Ansible works on at once, where that matters.
FORKS = {ROLES: 5, HOSTS: 50, URI_5: 5, URI_50: 50}
PLAYBOOKS = {FLEET: "fleet.yml", ROLES: "roles.yml", HOSTS: "hosts.yml", URI_5: "uri.yml", URI_50: "uri.yml"}


@dataclass(frozen=True)
class Case:
    approach: str
    machines: int
    per_second: float | None


def cases(*, quick: bool) -> list[Case]:
    """Every fleet by every approach, as far as that can be waited for."""
    sizes = {
        FLEET: [1, 10, 100, 1000] if quick else [1, 10, 100, 1000, 10_000],
        ROLES: [100] if quick else [100, 1000],
        HOSTS: [1, 10, 100] if quick else [1, 10, 100, 1000],
        URI_5: [1, 10, 100] if quick else [1, 10, 100, 1000],
        URI_50: [1, 10, 100] if quick else [1, 10, 100, 1000],
    }
    sizes[LIMIT] = sizes[FLEET]
    limited = {
        FLEET: [100, 1000] if quick else [1, 10, 100, 1000, 10_000],
        ROLES: [],
        HOSTS: [100] if quick else [1, 10, 100, 1000],
        # Processes of their own for each machine never come near this limit.
        URI_5: [100] if quick else [1, 10, 100],
        URI_50: [100] if quick else [1, 10, 100],
    }
    limited[LIMIT] = limited[FLEET]
    return [
        Case(approach, machines, per_second)
        for per_second, chosen in ((None, sizes), (PER_SECOND, limited))
        for machines in (1, 10, 100, 1000, 10_000)
        for approach in APPROACHES
        if machines in chosen[approach]
    ]


class Simulator:
    """A simulator process, over its control endpoints."""

    def __init__(self, description: dict[str, Any]) -> None:
        self.api_url: str = description["api_url"]
        self._control_url: str = description["control_url"]

    def control(self, method: str, path: str) -> Any:
        request = urllib.request.Request(self._control_url + path, method=method)
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)

    def ids(self) -> dict[str, Any]:
        snapshots = {snapshot["machineId"]: snapshot["id"] for snapshot in self.control("GET", "/snapshots")}
        return {"machines": [machine["id"] for machine in self.control("GET", "/machines")], "snapshots": snapshots}

    def done(self, work: str) -> int:
        counted = {"snapshot": "creates", "restore": "restores"}[work]
        return int(self.control("GET", "/counts")["done"][counted])


@contextlib.contextmanager
def simulator(machines: int, **settings: Any) -> Iterator[Simulator]:
    command = [sys.executable, str(SIMULATOR), "--no-ssh", "--with-parent", "--machines", str(machines)]
    command += ["--key", KEY, "--settings", json.dumps({**SETTINGS, **settings})]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise RuntimeError("the simulator ended before it was ready")
            yield Simulator(json.loads(line))
        finally:
            process.terminate()


class Bench:
    """Runs commands in a folder and an environment of their own, and keeps what they cost."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "ansible.cfg").touch()
        self._environ = {
            "HOME": str(folder),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "ANSIBLE_HOME": str(folder / "ansible_home"),
            "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": os.environ["ANSIBLE_COLLECTIONS_PATH"],
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "PAPERSPACE_API_KEY": KEY,
        }

    def capacity(self) -> dict[str, float]:
        """Requests a second that the simulator answers when nothing holds it back."""
        with simulator(CAPACITY_MACHINES, latency_seconds=0.0) as served:
            self._write_ids(served)
            command = self._bare_client("capacity", served, concurrency=64)
            done = subprocess.run(command, env=self._environ, check=True, stdout=subprocess.PIPE, text=True)
            capacity: dict[str, float] = json.loads(done.stdout)
            return capacity

    def warm_up(self) -> None:
        """Let Python compile what it will run, which is no part of any measurement."""
        with simulator(1, snapshot_seconds=0.0, latency_seconds=0.0) as served:
            self._write_ids(served)
            for approach in (FLEET, ROLES, HOSTS, URI_5, LIMIT):
                self._cost(self._command(Case(approach, 1, None), "snapshot", served))

    def figures(self, case: Case) -> Iterator[Figures]:
        """Both kinds of work, one after the other, on one fleet."""
        settings = {} if case.per_second is None else {"requests_per_second": case.per_second}
        with simulator(case.machines, **settings) as served:
            for work in WORKS:
                self._write_ids(served)
                served.control("DELETE", "/log")
                done_before = served.done(work)
                cost = self._cost(self._command(case, work, served))
                log = served.control("GET", "/log")
                yield Figures(
                    approach=case.approach,
                    work=work,
                    machines=case.machines,
                    per_second=case.per_second,
                    wall=cost["wall"],
                    cpu=cost["cpu"],
                    memory=int(cost["memory"]),
                    requests=len(log),
                    refused=sum(entry["status"] == 429 for entry in log),
                    done=served.done(work) - done_before,
                )

    def _command(self, case: Case, work: str, served: Simulator) -> list[str]:
        if case.approach == LIMIT:
            command = self._bare_client(work, served, concurrency=CONCURRENCY)
            return command if case.per_second is None else [*command, "--per-second", str(case.per_second)]
        variables = {
            "work": work,
            "snapshot_name": SNAPSHOT_NAME,
            "run_id": RUN_ID,
            "api_url": served.api_url,
            "api_key": KEY,
        }
        ids = json.loads((self._folder / "ids.json").read_text(encoding="utf-8"))
        if case.approach == FLEET:
            variables["machine_ids"] = ids["machines"]
        self._environ["PAPERSPACE_API_URL"] = served.api_url
        self._write("variables.json", json.dumps(variables))
        lines = [
            f"machine{number} paperspace_id={machine_id} snapshot_id={ids['snapshots'].get(machine_id, '')}"
            for number, machine_id in enumerate(ids["machines"], start=1)
        ]
        inventory = self._write("inventory.ini", "\n".join(lines) + "\n")
        command = ["ansible-playbook", str(HERE / PLAYBOOKS[case.approach])]
        command += ["-e", f"@{self._folder / 'variables.json'}"]
        if case.approach != FLEET:
            command += ["-i", str(inventory), "--forks", str(FORKS[case.approach])]
        return command

    def _bare_client(self, work: str, served: Simulator, *, concurrency: int) -> list[str]:
        command = [sys.executable, str(HERE / "bare_client.py"), work, "--api-url", served.api_url, "--key", KEY]
        command += ["--ids", str(self._folder / "ids.json"), "--name", SNAPSHOT_NAME]
        return [*command, "--concurrency", str(concurrency)]

    def _cost(self, command: Sequence[str]) -> dict[str, float]:
        """What the command cost. Raises RuntimeError, with the end of its output, when it fails."""
        log = self._folder / "output"
        measured = [sys.executable, "-I", str(HERE / "measure.py"), str(log), *command]
        with subprocess.Popen(
            measured, env=self._environ, cwd=self._folder, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            try:
                output, _errors = process.communicate(timeout=LONGEST)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        cost: dict[str, float] = json.loads(output)
        if cost["exit_code"] != 0:
            end = log.read_text(encoding="utf-8", errors="replace")[-3000:]
            raise RuntimeError(f"{command[0]} ended with {cost['exit_code']}:\n{end}")
        return cost

    def _write_ids(self, served: Simulator) -> None:
        self._write("ids.json", json.dumps(served.ids()))

    def _write(self, name: str, text: str) -> Path:
        path = self._folder / name
        path.write_text(text, encoding="utf-8")
        return path


def surroundings() -> dict[str, Any]:
    return {
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "ansible_core": version("ansible-core"),
        "concurrency": CONCURRENCY,
        "settings": SETTINGS,
    }


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller fleets: a few minutes instead of an hour")
    parser.add_argument("--machines", type=int, nargs="+", help="only fleets of these sizes")
    parser.add_argument("--approach", nargs="+", choices=list(APPROACHES), help="only these approaches")
    parser.add_argument("--output", type=Path, default=Path(".work/bench"), help="folder for the figures as JSON")
    return parser.parse_args(arguments)


def show(capacity: dict[str, float], results: Results, wanted: Sequence[Goal]) -> None:
    print("\nApproaches:")
    print("\n".join(f"  {name}: {text}" for name, text in APPROACHES.items()))
    print(
        f"\nThe simulator answers {capacity['creates']:.0f} creates or {capacity['pages']:.0f} pages a second; "
        f"{CONCURRENCY} requests of {1000 * LATENCY:.0f} ms at once are {MOST_A_SECOND:.0f} a second."
    )
    print("CPU is that of the command and all its children; memory that of its largest process at its peak (wait4).\n")
    print("\n".join(figures_table(results)))
    print("\n" + "\n".join(goals_table(wanted)))


def main() -> int:
    options = parse()
    about = surroundings()
    chosen = [
        case
        for case in cases(quick=options.quick)
        if (not options.machines or case.machines in options.machines)
        and (not options.approach or case.approach in options.approach)
    ]
    found: list[Figures] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bench = Bench(Path(folder))
        capacity = bench.capacity()
        bench.warm_up()
        for number, case in enumerate(chosen, start=1):
            try:
                for each in bench.figures(case):
                    found.append(each)
                    print(
                        f"[{number}/{len(chosen)}] {describe_work(each)}, {each.machines:,} machines, {each.approach}: "
                        f"{each.wall:.1f} s",
                        file=sys.stderr,
                        flush=True,
                    )
            except RuntimeError as error:
                failures.append(f"{case}: {error}")
                print(failures[-1], file=sys.stderr, flush=True)
    failures += [f"not done on all machines: {each}" for each in found if not each.is_whole]
    results = Results(found)
    wanted = [capacity_goal(capacity["creates"], MOST_A_SECOND), *goals(results)]
    show(capacity, results, wanted)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"{about['began'].replace(':', '')}.json"
    content = {
        "about": {**about, "load_at_the_end": os.getloadavg()},
        "capacity": capacity,
        "figures": [asdict(each) for each in found],
        "goals": [{**asdict(goal), "verdict": goal.verdict} for goal in wanted],
        "failures": failures,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"\nStored as {path}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

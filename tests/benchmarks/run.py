# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what this collection costs with what people do without it, and with the least that the API needs.

Each measurement has a simulator of its own, whose snapshots and restores take 5 s and whose answers take 50 ms each.
A whole run (no options) fails when a goal is not met. It can be done in parts, which --merge puts together.
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
from collections.abc import Iterator, Mapping, Sequence
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
    Results,
    capacity_table,
    describe_work,
    figures_table,
    goals_table,
)
from benchmarks.findings import Findings, merge
from benchmarks.plan import (
    ASKED_FOR,
    CAPACITY,
    CONCURRENCY,
    FORKS,
    QUICK_CAPACITY,
    SETTINGS,
    WORKS,
    Case,
    cases,
    estimated_seconds,
    left_out,
    part_of,
)

HERE = Path(__file__).resolve().parent
SIMULATOR = HERE.parent / "simulator"
KEY = "simulator-key"
RUN_ID = "20260131T235959Z-1a2b"
SNAPSHOT_NAME = f"maint-{RUN_ID}"
LONGEST = 7200.0

PLAYBOOKS = {FLEET: "fleet.yml", ROLES: "roles.yml", HOSTS: "hosts.yml", URI_5: "uri.yml", URI_50: "uri.yml"}


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
def simulator(machines: int, settings: Mapping[str, Any]) -> Iterator[Simulator]:
    command = [sys.executable, str(SIMULATOR), "--no-ssh", "--with-parent", "--machines", str(machines)]
    command += ["--key", KEY, "--settings", json.dumps(settings)]
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

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._settings = settings
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

    def capacity(self, machines: int) -> dict[str, float]:
        """Requests a second that the simulator answers when nothing holds it back, by kind."""
        at_once = {"latency_seconds": 0.0, "snapshot_seconds": 0.0, "event_start_seconds": 0.0}
        with simulator(machines, {**self._settings, **at_once}) as served:
            self._write_ids(served)
            command = self._bare_client("capacity", served, concurrency=64)
            done = subprocess.run(command, env=self._environ, check=True, stdout=subprocess.PIPE, text=True)
            capacity: dict[str, float] = json.loads(done.stdout)
            return capacity

    def warm_up(self) -> None:
        """Let Python compile what it will run, which is no part of any measurement."""
        with simulator(1, {**self._settings, "snapshot_seconds": 0.0, "latency_seconds": 0.0}) as served:
            self._write_ids(served)
            for approach in (FLEET, ROLES, HOSTS, URI_5, LIMIT):
                self._cost(self._command(Case(approach, 1, None), "snapshot", served))

    def figures(self, case: Case) -> Iterator[Figures]:
        """Both kinds of work, one after the other, on one fleet."""
        with simulator(case.machines, {**self._settings, "requests_per_second": case.per_second}) as served:
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
                    memory_together=None if cost["memory_together"] is None else int(cost["memory_together"]),
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

    def _cost(self, command: Sequence[str]) -> dict[str, Any]:
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
        cost: dict[str, Any] = json.loads(output)
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


def surroundings(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "ansible_core": version("ansible-core"),
        "concurrency": CONCURRENCY,
        "settings": settings,
    }


def part(text: str) -> tuple[int, int]:
    number, parts = map(int, text.split("/"))
    if not 1 <= number <= parts:
        raise ValueError
    return number, parts


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller fleets: minutes instead of hours")
    parser.add_argument("--machines", type=int, nargs="+", help="only fleets of these sizes")
    parser.add_argument("--approach", nargs="+", choices=list(APPROACHES), help="only these approaches")
    parser.add_argument("--rate", choices=["unlimited", "limited"], help="only without, or with, a limit on the rate")
    parser.add_argument("--part", type=part, metavar="N/M", help="one of so many parts of a whole run")
    parser.add_argument(
        "--merge",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="measure nothing: put the figures of earlier runs together (by default all in --output), and fail unless "
        "they are a whole run that meets all goals",
    )
    parser.add_argument(
        "--capacity", type=int, nargs="+", metavar="N", help="show the simulator's own capacity with so many machines"
    )
    parser.add_argument("--settings", type=json.loads, default={}, help="a JSON object of others for the simulator")
    parser.add_argument("--output", type=Path, default=Path(".work/bench"), help="folder for the figures as JSON")
    return parser.parse_args(arguments)


def chosen_cases(options: argparse.Namespace) -> list[Case]:
    chosen = [
        case
        for case in cases(quick=options.quick)
        if (not options.machines or case.machines in options.machines)
        and (not options.approach or case.approach in options.approach)
        and (not options.rate or (options.rate == "limited") == (case.per_second is not None))
    ]
    return part_of(chosen, *options.part) if options.part else chosen


def show(findings: Findings) -> None:
    print("\nApproaches:")
    print("\n".join(f"  {name}: {text}" for name, text in APPROACHES.items()))
    print("\nWhat the simulator answers in a second, and what is asked of it at most:\n")
    print("\n".join(capacity_table(findings.capacity, ASKED_FOR)))
    print(
        "\nCPU is that of the command and all its children. Memory is that of its largest process at its peak (wait4), "
        "and what\nall of them took together at the most that was seen (Pss: what they share counts once).\n"
    )
    print("\n".join(figures_table(Results(findings.figures))))
    for each in findings.left_out:
        work = " and ".join(WORKS) + ("" if each.per_second is None else f" at {each.per_second:g}/s")
        print(f"{work}, {each.machines:,} machines, {each.approach}: left out, because {each.why}")
    print("\n" + "\n".join(goals_table(findings.goals)))


def measure(chosen: Sequence[Case], findings: Findings, path: Path, capacity: Sequence[int]) -> None:
    """Store after each case what there is by then: a run that is ended early is a part too."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bench = Bench(Path(folder), findings.about["settings"])
        for machines in capacity:
            findings.capacity[machines] = bench.capacity(machines)
        bench.warm_up()
        for number, case in enumerate(chosen, start=1):
            try:
                for each in bench.figures(case):
                    findings.figures.append(each)
                    print(
                        f"[{number}/{len(chosen)}] {describe_work(each)}, {each.machines:,} machines, {each.approach}: "
                        f"{each.wall:.1f} s",
                        file=sys.stderr,
                        flush=True,
                    )
            except RuntimeError as error:
                findings.failures.append(f"{case}: {error}")
                print(findings.failures[-1], file=sys.stderr, flush=True)
            findings.write(path)


def announce(chosen: Sequence[Case], *, is_whole: bool) -> None:
    seconds = sum(map(estimated_seconds, chosen))
    until = time.strftime("%H:%M", time.localtime(time.time() + seconds))
    print(f"{len(chosen)} cases, about {seconds / 60:.0f} minutes on two cores: until {until}.", file=sys.stderr)
    if is_whole:
        print(
            "In parts: --part 1/3, --part 2/3, --part 3/3, and then --merge. The figures so far are stored after each "
            "case.",
            file=sys.stderr,
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    if options.merge is not None:
        files = [path if path.exists() else output / path for path in options.merge]
        files = files or sorted(path for path in output.glob("*.json") if path.name != "merged.json")
        if not files:
            sys.exit(f"There is nothing to merge in {output}.")
        try:
            findings = merge([Findings.read(path) for path in files])
        except ValueError as error:
            sys.exit(str(error))
        path, is_whole = output / "merged.json", True
    else:
        chosen, settings = chosen_cases(options), {**SETTINGS, **options.settings}
        is_whole = chosen == cases(quick=False) and settings == SETTINGS and not options.capacity
        findings = Findings(surroundings(settings), left_out=left_out() if is_whole else ())
        path = output / f"{findings.about['began'].replace(':', '')}.json"
        announce(chosen, is_whole=is_whole)
        measure(chosen, findings, path, options.capacity or (QUICK_CAPACITY if options.quick else CAPACITY))
    show(findings)
    findings.write(path)
    print(f"\nStored as {path}")
    for failure in findings.all_failures:
        print(failure, file=sys.stderr)
    missed = [goal.text for goal in findings.goals if goal.verdict != "met"]
    if is_whole and missed:
        print("Not met: " + "; ".join(missed), file=sys.stderr)
    return 1 if findings.all_failures or (is_whole and missed) else 0


if __name__ == "__main__":
    sys.exit(main())

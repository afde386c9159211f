# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guarded run, step by step: snapshots, the user's playbooks, verdicts, rollback, closing. Free of Ansible.

C(Guard) decides; what it does to the world goes through C(Ports), so that tests can drive it. C(RunReport) is its only
state and is kept after every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ansible_collections.community.paperspace.plugins.module_utils._errors import (
    InputError,
    PaperspaceError,
    Unauthorized,
    passes_after,
)
from ansible_collections.community.paperspace.plugins.module_utils._machines import MachineWish
from ansible_collections.community.paperspace.plugins.module_utils._names import RunName, parse_run_name, run_name
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import Outcome, Report, SnapshotOutcome
from ansible_collections.community.paperspace.plugins.module_utils._snapshot_plans import Wish
from ansible_collections.community.paperspace.plugins.module_utils._wire import Snapshot
from ansible_collections.community.paperspace.plugins.plugin_utils._ledger import judge
from ansible_collections.community.paperspace.plugins.plugin_utils._report import (
    ChildReport,
    MachineReport,
    Reason,
    RollbackReport,
    RunReport,
    SnapshotReport,
    Span,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._report_text import names, recover_command

_PROVEN = ("created", "unchanged", "would_create")
_GOOD = ("ok", "untouched")
_BETWEEN_TRIES = 10.0
_STOPS = {
    "sigint": "The run was stopped by SIGINT.",
    "sigterm": "The run was stopped by SIGTERM.",
    "parent_died": "The ansible-playbook that had started the run ended before it.",
    "guardian_died": "The process that guarded the run died, and what it had left was undone afterwards.",
}
_ENDED_BY_OTHERS = {
    "restored": "Somebody else has put it back to its snapshot meanwhile, and so ended the run on it. "
    "What was changed on it after that is not undone.",
    "ok": "Somebody else has closed the run on it meanwhile, to keep what was changed.",
    None: "Its snapshot is gone: somebody else has deleted it.",
}


class Ports(Protocol):
    """The world outside of a guard."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def pause(self, seconds: float, *, despite_stop: bool = False) -> None:
        """Wait; not longer than until the run is stopped, unless C(despite_stop)."""

    def say(self, text: str) -> None:
        """Show a line to the user."""

    def save(self, report: RunReport) -> bool:
        """Keep the report. Whether that was possible."""

    def stopped_by(self) -> str | None:
        """What ended the run from outside: sigint, sigterm, parent_died, guardian_died; None while nothing did."""

    def existing_snapshots(self, machine_ids: Sequence[str]) -> dict[str, list[Snapshot]]:
        """Each machine's snapshots. Raises InputError when a machine does not exist."""

    def snapshots(self, wish: Wish, *, check_mode: bool) -> Report:
        """What paperspace_snapshot does."""

    def made_snapshots(self) -> set[str]:
        """The ids of the snapshots that this run, or the dead guardian of it, is known to have made."""

    def machines(self, wish: MachineWish) -> Report:
        """What paperspace_machine does."""

    def check_playbook(self, playbook: str, hosts: Sequence[str]) -> None:
        """Raise InputError for a playbook that cannot be run."""

    def run_playbook(self, playbook: str, hosts: Sequence[str]) -> tuple[int, list[dict[str, Any]]]:
        """Run it for these hosts: its exit code, and the lines of its ledger."""


@dataclass(frozen=True)
class Settings:
    """What a run is asked for besides what its report says. Times are seconds."""

    soak: float = 0.0
    safety_snapshot: bool = False
    wait_timeout: float = 3600.0


class Guard:
    def __init__(self, report: RunReport, settings: Settings, ports: Ports) -> None:
        self._report = report
        self._settings = settings
        self._ports = ports
        self._open_name = run_name(report.prefix, report.run_id)
        # The hosts that a playbook was to reach and did not, with the reason.
        self._missed: dict[str, Reason] = {}
        # Of each playbook that has been run, whether a task of it began on any machine.
        self._has_run: dict[str, bool] = {}

    def refuse(self) -> None:
        """Raise InputError for what must not be begun. Nothing is touched."""
        by_id = {machine.machine_id: machine for machine in self._report.machines}
        listing = self._ports.existing_snapshots(list(by_id))
        open_runs: dict[str, list[str]] = {}
        reused: list[str] = []
        for machine_id, snapshots in listing.items():
            for run in self._runs(snapshots):
                if not run.is_closed:
                    open_runs.setdefault(run.run_id, []).append(by_id[machine_id].host)
                elif run.run_id == self._report.run_id:
                    reused.append(by_id[machine_id].host)
        if open_runs:
            raise InputError(self._open_runs_message(open_runs))
        if reused:
            raise InputError(
                f"No maintenance was begun: run {self._report.run_id} is over on {', '.join(reused)}. A run id can be "
                "shared by machines, and each of them can have it once: give another maintenance_run_id, or none."
            )
        hosts = [machine.host for machine in self._report.machines]
        try:
            self._check_playbooks(hosts)
        except InputError as error:
            raise InputError(f"No maintenance was begun: {error}") from None

    def _check_playbooks(self, hosts: Sequence[str]) -> None:
        for playbook in self._report.playbooks:
            self._ports.check_playbook(playbook, hosts)

    def _open_runs_message(self, open_runs: dict[str, list[str]]) -> str:
        sentences = [self._open_run_sentences(run_id, hosts) for run_id, hosts in open_runs.items()]
        return (
            "No maintenance was begun, since another run is open. It may still be at work; then wait for its end. "
            "If its controller is gone, decide about it. " + " ".join(sentences)
        )

    def _open_run_sentences(self, run_id: str, hosts: Sequence[str]) -> str:
        other = RunReport(
            run_id,
            prefix=self._report.prefix,
            inventory=self._report.inventory,
            limit=self._report.limit,
            recover_variables=self._report.recover_variables,
        )
        return (
            f"Run {run_id} is still open on {', '.join(hosts)}. To see it: {recover_command(other, 'list')}. "
            f"To keep what it did: {recover_command(other, 'keep')}. "
            "To undo it, which destroys what has changed on their disks since their snapshots: "
            f"{recover_command(other, 'rollback')}."
        )

    def run(self) -> None:
        """All waves, to the end or until too many machines are lost. Raises nothing of the service."""
        report = self._report
        report.began = self._ports.now()
        self._save()
        waves = self._waves()
        for number, wave in enumerate(waves, 1):
            if number > 1 and self._settings.soak and not report.check_mode:
                self._ports.say(f"Waiting {self._settings.soak:g} s before wave {number} of {len(waves)}.")
                self._ports.pause(self._settings.soak)
            if number > 1:
                self._look_again(number, wave)
            if self._is_over():
                break
            self._ports.say(f"Wave {number} of {len(waves)}: {names(wave)}")
            self._run_wave(number, wave)
            if self._is_over():
                break
        if self._is_over():
            # What stands or falls with these waves has to fall, whenever it became known.
            self._settle([])
        self.finish()

    def _look_again(self, number: int, wave: Sequence[MachineReport]) -> None:
        """A playbook can have been changed since the last wave, and one that cannot start proves nothing."""
        try:
            self._check_playbooks([machine.host for machine in wave])
        except InputError as error:
            if self._ports.stopped_by() is None:
                self._problem(f"Wave {number} was not begun: {error}")

    def resume(self, lines: Sequence[dict[str, Any]]) -> None:
        """Undo what another guardian left when it died. C(lines) is the ledger of the playbook that it ran last."""
        report = self._report
        waiting = [m for m in report.machines if m.outcome == "planned" and "snapshot" in m.times]
        self._adopt_snapshots(waiting)
        begun = [machine for machine in report.machines if machine.outcome in ("snapshotted", "maintaining")]
        current = [machine for machine in begun if machine.outcome == "maintaining"]
        self._judge("", current, lines)
        begun_children = [child for child in report.children if current and child.wave == current[0].wave]
        for machine in begun:
            if machine.outcome == "snapshotted":
                machine.verdict = "untouched"
            elif machine.verdict == "ok" and len(begun_children) < len(report.playbooks):
                _miss_the_next_playbook(machine)
        unfinished = [machine for machine in report.machines if machine.outcome == "rolling_back"]
        put_back = [machine for machine in report.machines if machine.outcome == "rolled_back"]
        # Else it had come to its end, and was about to close what is well.
        if begun or unfinished or waiting or any(machine.outcome == "planned" for machine in report.machines):
            self._settle([*begun, *unfinished])
        self._rename([machine for machine in put_back if machine.closed is None], "restored")
        self._start(put_back)
        self.finish()

    def _adopt_snapshots(self, machines: Sequence[MachineReport]) -> None:
        """Wait for the snapshots that the dead guardian is known to have made.

        What else has the name of the run may be another controller's, and is left as it is.
        """
        if not machines:
            return
        try:
            listing = self._ports.existing_snapshots([machine.machine_id for machine in machines])
        except PaperspaceError as error:
            for machine in machines:
                machine.outcome, machine.snapshot.status = "no_snapshot", "unsure"
                machine.reason = Reason(machine.host, None, f"Whether its snapshot was begun is not known: {error}")
            return
        made = self._ports.made_snapshots()
        known, doubtful = [], []
        for machine in machines:
            found = [
                snapshot
                for snapshot in listing.get(machine.machine_id, ())
                if snapshot.name == self._open_name and not snapshot.is_auto_snapshot
            ]
            own = [snapshot for snapshot in found if snapshot.id in made]
            others = [snapshot for snapshot in found if snapshot.id not in made]
            if own:
                machine.snapshot = SnapshotReport(own[0].id, self._open_name)
            if others:
                doubtful.append((machine, others[0].id))
            elif own:
                known.append(machine)
        self._remove_own([machine for machine, dummy in doubtful])
        for machine, snapshot_id in doubtful:
            machine.snapshot = SnapshotReport(snapshot_id, self._open_name, "unsure")
            self._leave(
                machine,
                f"Snapshot {snapshot_id} may be of another controller of this run: the process that died had not "
                "heard of it. Make sure that no other works on the run before you resolve it.",
            )
        if known:
            self._take_snapshots(known, is_successor=True)

    def _waves(self) -> list[list[MachineReport]]:
        rest = list(self._report.machines)
        waves = []
        for number, size in enumerate(self._report.wave_sizes, 1):
            wave, rest = rest[:size], rest[size:]
            for machine in wave:
                machine.wave = number
            waves.append(wave)
        return waves

    def _run_wave(self, number: int, wave: Sequence[MachineReport]) -> None:
        self._take_snapshots(wave)
        guarded = [machine for machine in wave if machine.outcome == "snapshotted"]
        is_hopeless = self._report.scope != "failed" and self._is_exceeded()
        if self._ports.stopped_by() is None and not is_hopeless:
            self._maintain(number, guarded)
        for machine in guarded:
            if machine.verdict is None:
                machine.verdict = "untouched"
        self._settle(guarded)

    def _take_snapshots(self, wave: Sequence[MachineReport], *, is_successor: bool = False) -> None:
        self._begin(wave, "snapshot")
        # To a successor they are known to be there.
        entries = _by_machine(self._taken(wave, "unsure" if is_successor else "failed"))
        for machine in wave:
            entry = entries.get(machine.machine_id, SnapshotOutcome(machine.machine_id, status="failed"))
            machine.snapshot = SnapshotReport(
                entry.id,
                getattr(entry, "name", None),
                entry.status,
                entry.error,
            )
            machine.outcome = "snapshotted" if entry.status in _PROVEN else "no_snapshot"
            if not is_successor and (entry.status == "unchanged" or (entry.id and not entry.was_sent)):
                machine.snapshot.status, machine.snapshot.error = "unchanged", None
                self._leave(machine, "Another controller has begun with it in the same run.")
            elif machine.outcome == "no_snapshot":
                machine.reason = Reason(machine.host, None, entry.error or "No snapshot was made.")
                self._ports.say(f"{machine.host} has no proven snapshot and is left alone: {machine.reason.error}")
        if not self._report.check_mode:
            taken = [machine for machine in wave if machine.outcome == "snapshotted"]
            others = [] if is_successor else self._leave_to_others(taken)
            failed = [machine for machine in wave if machine.snapshot.status == "failed"]
            self._remove_own([*failed, *others])
        self._end(wave, "snapshot")

    def _taken(self, machines: Sequence[MachineReport], otherwise: str) -> list[Outcome]:
        """The outcomes of the snapshots; C(otherwise) is the status of what could not even be begun."""
        wish = self._wish(machines, state="present", name=self._open_name)
        try:
            return list(self._ports.snapshots(wish, check_mode=self._report.check_mode).outcomes)
        except InputError as error:
            if len(machines) > 1:
                return _by_halves(machines, lambda half: self._taken(half, otherwise), error)
            why = str(error)
        except PaperspaceError as error:
            why = str(error)
        return [SnapshotOutcome(machine.machine_id, status=otherwise, error=why) for machine in machines]

    def _leave_to_others(self, machines: Sequence[MachineReport]) -> list[MachineReport]:
        """Give up the machines that another run has begun with since this one was let begin, and return them.

        That is looked at once more after the snapshots are there, so that of two runs at least one sees the other.
        """
        listing, why = self._listed(machines)
        for machine in machines:
            found = listing.get(machine.machine_id)
            if found is None:
                continue
            if not any((item.id, item.name) == (machine.snapshot.id, self._open_name) for item in found):
                why[machine.host] = "Its snapshot is gone again, or has another name: somebody else has changed it."
                # It is not this run's any more.
                machine.snapshot.name = next((item.name for item in found if item.id == machine.snapshot.id), None)
            for run in self._runs(found):
                if not run.is_closed and run.run_id != self._report.run_id:
                    why[machine.host] = self._open_run_sentences(run.run_id, [machine.host])
                elif run.is_closed and run.run_id == self._report.run_id:
                    why[machine.host] = "Another controller was faster in the same run, which is over on it."
        left = [machine for machine in machines if machine.host in why]
        for machine in left:
            self._leave(machine, why[machine.host])
        return left

    def _listed(self, machines: Sequence[MachineReport]) -> tuple[dict[str, list[Snapshot]], dict[str, str]]:
        """The snapshots of machines, by id; of those that could not be looked at, the reason by host."""
        if not machines:
            return {}, {}
        try:
            return self._ports.existing_snapshots([machine.machine_id for machine in machines]), {}
        except InputError as error:
            if len(machines) > 1:
                half = len(machines) // 2
                first, second = self._listed(machines[:half]), self._listed(machines[half:])
                return first[0] | second[0], first[1] | second[1]
            why = str(error)
        except PaperspaceError as error:
            why = str(error)
        return {}, {machine.host: f"Whether another run is open on it is not known: {why}" for machine in machines}

    def _leave(self, machine: MachineReport, why: str) -> None:
        machine.outcome = "no_snapshot"
        machine.reason = Reason(machine.host, None, why)
        self._ports.say(f"{machine.host} is left alone: {why}")

    def _runs(self, snapshots: Iterable[Snapshot]) -> list[RunName]:
        manual = [snapshot for snapshot in snapshots if not snapshot.is_auto_snapshot]
        return [run for run in (parse_run_name(snapshot.name, self._report.prefix) for snapshot in manual) if run]

    def _remove_own(self, machines: Sequence[MachineReport]) -> None:
        """Delete what this run has left on machines that it leaves alone: it would look like an open run."""
        left = {
            str(machine.snapshot.id): machine
            for machine in machines
            if machine.snapshot.id and machine.snapshot.name == self._open_name
        }
        if not left:
            return
        wish = Wish(snapshot_ids=list(left), state="absent", wait_timeout=self._settings.wait_timeout)
        try:
            outcomes = self._ports.snapshots(wish, check_mode=False).outcomes
        except PaperspaceError as error:
            outcomes = [
                SnapshotOutcome(machine.machine_id, status="failed", error=str(error), id=snapshot_id)
                for snapshot_id, machine in left.items()
            ]
        for outcome in outcomes:
            machine = left[str(getattr(outcome, "id", None))]
            if outcome.is_bad:
                self._problem(
                    f"The useless snapshot {machine.snapshot.id} of {machine.host} is still there: {outcome.error}"
                )
            else:
                machine.snapshot.id = None

    def _maintain(self, number: int, guarded: Sequence[MachineReport]) -> None:
        standing = list(guarded)
        for machine in guarded:
            machine.outcome = "maintaining"
        self._begin(guarded, "maintenance")
        for playbook in self._report.playbooks:
            if not standing or self._ports.stopped_by() is not None:
                break
            child = ChildReport(number, playbook, began=self._ports.now())
            self._report.children.append(child)
            if not self._save():
                self._report.children.remove(child)
                self._problem(f"{playbook} was not begun, since the report cannot be written.")
                break
            child.rc, lines = self._ports.run_playbook(playbook, [machine.host for machine in standing])
            child.ended = self._ports.now()
            self._has_run.setdefault(playbook, False)
            elsewhere = self._judge(playbook, standing, lines)
            self._note_trouble(playbook, child.rc, standing, elsewhere)
            # Who was not reached by a playbook that broke down must not be taken for verified by the next.
            passed = _GOOD if child.rc == 0 else ("ok",)
            standing = [m for m in standing if m.verdict in passed and m.host not in self._missed]
        else:
            standing = []
        for machine in standing:
            # Stopped before its next playbook.
            if machine.verdict == "ok":
                _miss_the_next_playbook(machine)
        self._end(guarded, "maintenance")

    def _judge(self, playbook: str, machines: Sequence[MachineReport], lines: Sequence[dict[str, Any]]) -> list[Reason]:
        """Give each machine its verdict. Returns the failures of other hosts."""
        findings = judge(lines, [machine.host for machine in machines])
        if any(found.verdict != "untouched" for found in findings.verdicts.values()):
            self._has_run[playbook] = True
        self._missed |= {host: found.missed for host, found in findings.verdicts.items() if found.missed is not None}
        for machine in machines:
            found = findings.verdicts[machine.host]
            if found.verdict != "untouched" or machine.verdict is None:
                machine.verdict, machine.reason = found.verdict, found.reason
            elif machine.verdict == "ok" and found.missed is not None:
                # The verification was to look at it, and did not come so far.
                machine.verdict, machine.reason = "incomplete", found.missed
            # Else the verification is not for it, and it is still what the maintenance made of it.
        return findings.elsewhere

    def _note_trouble(
        self, playbook: str, rc: int, machines: Sequence[MachineReport], elsewhere: Sequence[Reason]
    ) -> None:
        """Keep why a playbook failed when that is not the failure of one of the machines."""
        for reason in elsewhere:
            self._problem(f"{playbook}: {reason.host}: task {reason.task!r}: {reason.error}")
        missed = [machine for machine in machines if machine.verdict == "untouched" and machine.host in self._missed]
        if missed and (rc == 0 or len(missed) == len(machines)):
            hosts = ", ".join(machine.host for machine in missed)
            self._problem(f"{playbook} was to be run on {hosts}, and was not: {self._missed[missed[0].host].error}")
        elif rc != 0 and all(machine.verdict in _GOOD for machine in machines) and not self._report.problems:
            self._problem(f"{playbook} ended with {rc}, although each machine that it began came to its end.")

    def _settle(self, guarded: Sequence[MachineReport]) -> None:
        """Roll back what is to be, and close the rest unless all waves stand or fall together."""
        report = self._report
        if report.check_mode:
            for machine in guarded:
                if machine.verdict in _GOOD:
                    machine.outcome = str(machine.verdict)
            self._save()
            return
        lost = [machine for machine in guarded if machine.verdict not in _GOOD]
        for machine in guarded:
            machine.outcome = str(machine.verdict) if machine.verdict in _GOOD else "rolling_back"
        if self._is_over():
            wider = {"failed": [], "wave": guarded, "fleet": report.machines}[report.scope]
            others = [machine for machine in wider if machine.outcome == "ok" and machine.closed is None]
            for machine in others:
                machine.reason = Reason(None, None, self._why_over())
            lost += others
        self._roll_back(lost)
        # From here on a successor has nothing to decide any more.
        self._save()
        if report.scope != "fleet":
            self._close(guarded)

    def _is_exceeded(self) -> bool:
        return self._count_lost() > self._report.max_failures

    def _count_lost(self) -> int:
        return sum(
            machine.outcome == "no_snapshot" or machine.verdict in ("failed", "unreachable", "incomplete")
            for machine in self._report.machines
        )

    def _is_over(self) -> bool:
        """Whether no further wave may start."""
        is_broken = bool(self._report.problems)
        return self._is_exceeded() or is_broken or self._ports.stopped_by() is not None

    def _why_over(self) -> str:
        """Why no further wave may start, as a sentence."""
        stopped_by = self._ports.stopped_by()
        if stopped_by is not None:
            return _STOPS[stopped_by]
        if self._is_exceeded():
            lost, most = self._count_lost(), self._report.max_failures
            return (
                f"{lost} of {len(self._report.machines)} machines did not come through; the failure budget is {most}."
            )
        return self._report.problems[0]

    def _roll_back(self, machines: Sequence[MachineReport]) -> None:
        """Put them back. Until wait_timeout is over, what nobody refused is tried again."""
        if not machines:
            return
        self._ports.say(f"Rolling back {names(machines)}")
        for machine in machines:
            machine.outcome = "rolling_back"
        self._begin(machines, "rollback")
        deadline = self._ports.now() + self._settings.wait_timeout
        left = list(machines)
        while left:
            outcomes = _by_machine(self._restore(left))
            rest = deadline - self._ports.now()
            waits = {machine.host: outcomes[machine.machine_id].passes_after for machine in left}
            again = [machine for machine in left if (wait := waits[machine.host]) is not None and wait < rest]
            # The others are not kept waiting for these.
            self._note_rollback([machine for machine in left if machine not in again], outcomes)
            left = again
            if left:
                pause = max(_BETWEEN_TRIES, *(waits[machine.host] or 0.0 for machine in left))
                error = outcomes[left[0].machine_id].error
                self._ports.say(f"The rollback of {names(left)} is tried again in {pause:g} s: {error}")
                self._ports.pause(pause, despite_stop=True)

    def _note_rollback(self, machines: Sequence[MachineReport], outcomes: Mapping[str, Any]) -> None:
        """Take note of how the rollback ended, and bring up the machines that are back."""
        for machine in machines:
            outcome = outcomes[machine.machine_id]
            machine.rollback = RollbackReport(
                outcome.status, outcome.error, getattr(outcome, "safety_snapshot_id", None)
            )
            machine.outcome = "rolled_back" if outcome.status == "restored" else "rollback_failed"
        ended = self._ended_by_others([m for m in machines if m.rollback and m.rollback.status == "failed"])
        for machine in machines:
            if machine.outcome == "rollback_failed" and machine.rollback:
                machine.rollback.error = ended.get(machine.machine_id, machine.rollback.error)
                status, error = machine.rollback.status, machine.rollback.error
                self._ports.say(f"{machine.host} is NOT proven to be rolled back ({status}): {error}")
        self._end(machines, "rollback")
        restored = [machine for machine in machines if machine.outcome == "rolled_back"]
        self._rename(restored, "restored")
        self._start(restored)

    def _restore(self, machines: Sequence[MachineReport]) -> list[Outcome]:
        """One outcome for each machine. What stands against one of them does not keep the others from it."""
        wish = self._wish(
            machines,
            state="restored",
            name=self._open_name,
            own_ids=_ids_of(machines),
            safety_snapshot=self._settings.safety_snapshot,
            skip_missing=True,
            is_persistent=True,
        )
        try:
            outcomes = list(self._ports.snapshots(wish, check_mode=False).outcomes)
        except InputError as error:
            return _by_halves(machines, self._restore, error)
        except Unauthorized as error:
            return [_failed(machine, str(error)) for machine in machines]
        except PaperspaceError as error:
            # Nothing was begun yet.
            return [_failed(machine, str(error), passes_after=passes_after(error) or 0.0) for machine in machines]
        for outcome in outcomes:
            if outcome.status == "skipped":
                outcome.status, outcome.error = "failed", "The machine or its snapshot is gone, or was renamed."
        return outcomes

    def _start(self, machines: Sequence[MachineReport]) -> None:
        if not machines:
            return
        hosts = {machine.machine_id: machine.host for machine in machines}
        for outcome in self._started(machines):
            if outcome.is_bad:
                host = hosts[outcome.machine_id]
                self._problem(f"{host} was rolled back, and is not proven to be on: {outcome.error}")

    def _started(self, machines: Sequence[MachineReport]) -> list[Outcome]:
        wish = MachineWish(
            machine_ids=[machine.machine_id for machine in machines],
            state="started",
            wait_timeout=self._settings.wait_timeout,
        )
        try:
            return list(self._ports.machines(wish).outcomes)
        except InputError as error:
            return _by_halves(machines, self._started, error)
        except PaperspaceError as error:
            return [_failed(machine, str(error)) for machine in machines]

    def _close(self, machines: Iterable[MachineReport]) -> None:
        self._rename([machine for machine in machines if machine.outcome in _GOOD and machine.is_open], "ok")

    def _rename(self, machines: Sequence[MachineReport], closed: str) -> None:
        if not machines:
            return
        new_name = run_name(self._report.prefix, self._report.run_id, closed)
        outcomes = _by_machine(self._renamed(machines, new_name))
        nothing = SnapshotOutcome("", status="failed", error="Nothing was reported of it.")
        ended = self._ended_by_others([m for m in machines if outcomes.get(m.machine_id, nothing).status == "failed"])
        for machine in machines:
            outcome = outcomes.get(machine.machine_id, nothing)
            if machine.machine_id in ended:
                machine.close_error = ended[machine.machine_id]
                if (machine.outcome, machine.closed) == ("ok", "restored"):
                    machine.outcome, machine.verdict = "rollback_failed", "incomplete"
                    machine.reason = Reason(None, None, "What was done on it is not proven to be there any more.")
                    machine.rollback, machine.close_error = RollbackReport("failed", machine.close_error), None
                self._ports.say(f"{machine.host}: {ended[machine.machine_id]}")
            elif outcome.is_bad:
                machine.close_error = outcome.error
                self._ports.say(f"The snapshot of {machine.host} still has the name of an open run: {outcome.error}")
            else:
                machine.closed, machine.close_error = closed, None
                machine.snapshot.name = new_name
        self._save()

    def _ended_by_others(self, machines: Sequence[MachineReport]) -> dict[str, str]:
        """Take note of it where somebody else has ended the run on a machine, and say how, by the machine's id."""
        listing, dummy = self._listed(machines)
        told = {}
        for machine in machines:
            if machine.machine_id not in listing:
                continue
            runs = [run for run in self._runs(listing[machine.machine_id]) if run.run_id == self._report.run_id]
            if all(run.is_closed for run in runs):
                machine.closed = runs[0].outcome if runs else None
                if machine.closed is None:
                    machine.snapshot.id = None
                else:
                    machine.snapshot.name = run_name(self._report.prefix, self._report.run_id, machine.closed)
                told[machine.machine_id] = _ENDED_BY_OTHERS[machine.closed]
        return told

    def _renamed(self, machines: Sequence[MachineReport], new_name: str) -> list[Outcome]:
        wish = self._wish(machines, state="present", name=self._open_name, new_name=new_name, own_ids=_ids_of(machines))
        try:
            return list(self._ports.snapshots(wish, check_mode=False).outcomes)
        except InputError as error:
            return _by_halves(machines, lambda half: self._renamed(half, new_name), error)
        except PaperspaceError as error:
            return [_failed(machine, str(error)) for machine in machines]

    def finish(self) -> None:
        """Close what is left, and say how it ended."""
        report = self._report
        if not report.check_mode:
            self._close(report.machines)
            self._rename([m for m in report.machines if m.outcome == "rolled_back" and m.closed is None], "restored")
        for machine in report.machines:
            if machine.close_error is not None and not machine.is_open:
                report.problems.append(f"{machine.host}: {machine.close_error}")
            elif machine.close_error is not None:
                report.problems.append(
                    f"The snapshot of {machine.host} still has the name of an open run: {machine.close_error}"
                )
            elif machine.outcome == "no_snapshot" and machine.is_open and machine.snapshot.status != "failed":
                why = machine.reason.error if machine.reason else "Its snapshot is not proven done."
                report.problems.append(f"The run may be open on {machine.host}: {why}")
            if machine.outcome == "planned":
                machine.outcome = "not_started"
                machine.reason = Reason(None, None, self._why_over())
        for playbook in report.playbooks[1:]:
            if self._has_run.get(playbook) is False:
                self._problem(f"No task of {playbook} was run on any machine, so by that nothing is verified.")
        report.ended_by = self._ports.stopped_by() or report.ended_by or "end"
        if report.ended_by in _STOPS:
            self._problem(_STOPS[report.ended_by])
        report.status = "succeeded" if report.is_success() else "failed"
        report.ended = self._ports.now()
        self._save()

    def _wish(self, machines: Sequence[MachineReport], **fields: Any) -> Wish:
        return Wish(
            machine_ids=[machine.machine_id for machine in machines],
            wait_timeout=self._settings.wait_timeout,
            **fields,
        )

    def _problem(self, sentence: str) -> None:
        self._report.problems.append(sentence)
        self._ports.say(sentence)

    def _begin(self, machines: Iterable[MachineReport], phase: str) -> None:
        for machine in machines:
            machine.times[phase] = Span(began=self._ports.now())
        self._save()

    def _end(self, machines: Iterable[MachineReport], phase: str) -> None:
        for machine in machines:
            machine.times[phase].ended = self._ports.now()
        self._save()

    def _save(self) -> bool:
        return self._ports.save(self._report)


def _miss_the_next_playbook(machine: MachineReport) -> None:
    machine.verdict = "incomplete"
    machine.reason = Reason(None, None, "The run was stopped before the next playbook.")


def _by_halves(
    machines: Sequence[MachineReport], ask: Callable[[Sequence[MachineReport]], list[Outcome]], error: InputError
) -> list[Outcome]:
    """Ask for each half by itself: what stands against one machine does not keep the others from it."""
    if len(machines) == 1:
        return [_failed(machines[0], str(error))]
    half = len(machines) // 2
    return ask(machines[:half]) + ask(machines[half:])


def _ids_of(machines: Iterable[MachineReport]) -> set[str]:
    """The own snapshots' ids: of their name there may be another controller's, if somebody has deleted the own one."""
    return {machine.snapshot.id for machine in machines if machine.snapshot.id is not None}


def _failed(machine: MachineReport, error: str, **more: Any) -> Outcome:
    return SnapshotOutcome(machine.machine_id, status="failed", error=error, **more)


def _by_machine(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    return {outcome.machine_id: outcome for outcome in outcomes}

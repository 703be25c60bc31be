"""Processes of a node that are killed while calls are under way."""

from __future__ import annotations

from .processes import is_alive, kill_and_see, processes_under
from .trial import Trial


def daemon_killed(trial: Trial) -> None:
    daemon = trial.lane.daemon_pid()
    trial.ask_some(5)
    trial.await_one_under_way()
    trial.kill((daemon, "daemon"))
    # While it is being started again: these are told that they never started, or succeed.
    trial.ask_some(2, seconds=0.1)
    trial.settle()
    trial.check(trial.lane.daemon_pid() != daemon, "the daemon that was killed is there again")


def worker_killed(trial: Trial) -> None:
    trial.ask_some(5)
    at_work = trial.await_one_under_way()
    if not at_work:
        return trial.missed("all calls had ended")
    trial.kill((trial.random.choice(at_work)["pid"], "worker"))
    trial.ask_some(2, seconds=0.1)
    return trial.settle()


def both_killed(trial: Trial) -> None:
    daemon = trial.lane.daemon_pid()
    trial.ask_some(5)
    at_work = trial.await_one_under_way()
    if not at_work:
        return trial.missed("all calls had ended")
    victims = [(daemon, "daemon"), (trial.random.choice(at_work)["pid"], "worker")]
    trial.random.shuffle(victims)
    trial.kill(*victims)
    trial.ask_some(2, seconds=0.1)
    return trial.settle()


def keeper_killed(trial: Trial) -> None:
    """The node's end: nothing of it may be left, and everybody is told."""
    keeper = trial.lane.keeper_pid()
    trial.ask_some(5)
    trial.await_one_under_way()
    trial.kill((keeper, "keeper"))
    trial.settle()
    folder = trial.lane.box.state_folder
    trial.wait_for(lambda: not processes_under(folder), "the end of all processes of a node without a keeper")


def node_preempted(trial: Trial) -> None:
    """Everything on the node dies, in any order and without a word, as when a machine is taken away."""
    trial.ask_some(5)
    at_work = trial.await_one_under_way()
    victims = processes_under(trial.lane.box.state_folder)
    trial.random.shuffle(victims)
    killed = [pid for pid in victims if kill_and_see(pid)]
    if at_work and killed:
        trial.fired(pids=killed, gone=not any(is_alive(pid) for pid in killed), calls=len(at_work))
    else:
        trial.missed("all calls had ended")
    trial.settle()
    trial.wait_for(lambda: not processes_under(trial.lane.box.state_folder), "the end of the node")

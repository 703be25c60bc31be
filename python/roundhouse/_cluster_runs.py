"""The runs of a cluster, by name, and what runs on it just now."""

from __future__ import annotations

from roundhouse._objects import Objects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roundhouse._runs import Run


class ClusterRuns(Objects):
    def get_run(self, name: str) -> Run:
        """The run of that name, whoever started it; NotFound where there is none.

        >>> import roundhouse as rh
        >>> box = rh.compute("example").up_if_not()
        >>> rh.function(len).to(box).options(run_name="counted", replace=True)("four")
        4
        >>> box.get_run("counted").result()
        4
        """
        from roundhouse._runs import Run

        run = Run(self._self(), name)
        run.describe()
        return run

    def runs(self, limit: int = 100) -> list[dict[str, Any]]:
        """The runs of this cluster, those that were asked for last first, each as ``get_run(name).describe()`` says.

        One whose record is damaged has the ``state`` "damaged", and an ``error`` that says so.

        >>> import roundhouse as rh
        >>> box = rh.compute("example").up_if_not()
        >>> rh.function(len).to(box).options(run_name="counted", replace=True)("four")
        4
        >>> [(run["name"], run["state"]) for run in box.runs(limit=1)]
        [('counted', 'succeeded')]
        """
        return list(self._ask("run_list", {"limit": limit}))

    def webhook_secret(self) -> str:
        """With what this cluster signs what it tells a run's ``webhook=``: the key of the HMAC-SHA256 in the header
        ``Roundhouse-Signature``. It is made when it is first asked for, and stays.

        >>> import roundhouse as rh
        >>> box = rh.compute("example").up_if_not()
        >>> len(box.webhook_secret())
        64
        """
        return str(self._ask("webhook_secret", {}))

    def stack(self, name: str) -> str:
        """What goes on there just now, for people, as ``Call.stack`` has it: of a call by its id, or of a run that is
        running, a service or a process by its name, where it means all the workers of that.

        NotFound where there is none; CallTimeout where a worker does not answer, because its process is stopped.

        >>> import roundhouse as rh
        >>> box = rh.compute("example").up_if_not()
        >>> idle = rh.function(len).to(box, name="idle")
        >>> "MainThread" in box.stack("idle")
        True
        """
        return str(self._ask("stack", {"name": name})["text"])

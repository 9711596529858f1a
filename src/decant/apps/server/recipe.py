"""What a server serves, before anything is loaded: enough for another process to load the same."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from decant.apps.opening import Opening
from decant.apps.server.bounds import Bounds
from decant.apps.store import DraftStore

if TYPE_CHECKING:
    from decant.apps.server.composing import Composer


@final
@dataclass(frozen=True, slots=True)
class Recipe:
    """The words of `decant serve`.

    name:       the id that clients give; None: `model`.
    plan:       in place of draft, method, verifier and policy.
    prefix_mb:  megabytes of prompts' beginnings that are kept for others.
    max_tokens: new tokens of a text, at most.
    threads:    CPU threads; None: as many as torch takes.
    store:      where what the drafter learns is kept; None: nowhere.
    """

    model: str
    opening: Opening
    bounds: Bounds
    draft: str | None = None
    method: str | None = None
    verifier: str | None = None
    policy: str | None = None
    plan: Path | None = None
    prefix_mb: float = 256.0
    max_tokens: int = 2048
    threads: int | None = None
    name: str | None = None
    store: DraftStore | None = None

    @property
    def served(self) -> str:
        """The id that clients give."""
        return self.name or self.model

    def abroad(self) -> "Recipe":
        """For a process that stands in another folder: what is a path here is one from the root."""
        paths = {"model": self.model, "draft": self.draft, "plan": self.plan}
        return replace(self, name=self.served, **{name: _rooted(path) for name, path in paths.items()})

    def composer(self, say: Callable[[str], None]) -> "Composer":
        """Loaded and warm. say: hears what the plan says. Raises DecantErrors."""
        from decant.apps.sampling import Sampling
        from decant.apps.server.composing import Composer
        from decant.apps.server.lifecycle import warm
        from decant.apps.session import open_session

        target = self.opening.target(self.model)
        draft, method, verifier, policy = self.draft, self.method, self.verifier, self.policy
        if self.plan is not None:
            from decant.apps.planned import planned

            said = planned(self.plan, target, self.opening, batch=self.bounds.batch)
            draft, method, verifier, policy = said.draft, said.method, said.verifier, said.policy
            say(f"the plan says {' '.join(said.options)}: {said.why}")
        session = open_session(
            target, draft, Sampling(), self.opening, method=method, verifier=verifier, policy=policy,
            prefix_mb=self.prefix_mb, store=self.store,
        )  # fmt: skip
        composer = Composer(session, verifier, policy)
        warm(composer)
        return composer


def _rooted(path: Any) -> Any:
    """Of the type that was given; what is no path stays."""
    if path is None or not Path(path).expanduser().exists():
        return path
    found = Path(path).expanduser().resolve()
    return found if isinstance(path, Path) else str(found)


def told(composer: "Composer") -> dict[str, Any]:
    """What is served, and where it runs."""
    from decant.models.machine import machine

    session = composer.session
    return {
        "method": session.method.name,
        "promise": session.method.promise,
        "machine": machine(),
        "model": session.target.facts(),
        "draft": None if session.draft is None else session.draft.facts(),
        "exact": session.target.exact_note,
    }

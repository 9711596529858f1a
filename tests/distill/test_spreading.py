"""Spread over workers, a teacher says and a student writes what they would alone, whoever dies meanwhile."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from decant.distill import spreading
from decant.distill.composition import Asked, Composition, Learner
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.rollouts.dataset import Dataset
from decant.distill.spreading import Crew, SpreadSpeaker, SpreadTeacher
from decant.distill.teachers.live import Live
from decant.distill.texts import Positions, Text, padded
from decant.distill.trainer import Settings, run
from decant.errors import BadInput, DecantError, MissingExtra
from decant.models.build import LlamaSpec, untrained
from decant.models.teacher import Teacher

VOCAB = 24


@pytest.fixture(scope="module")
def cluster():
    found = pytest.importorskip("ray", reason="the extra [ray] is not installed")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    calm = {"worker_niceness": 0}  # on a busy machine polite workers import for minutes
    found.init(
        num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20, _system_config=calm
    )
    yield found
    found.shutdown()


def network(seed: int):
    return untrained(LlamaSpec(VOCAB, 16, 2, 2, 1, 24, head_dim=8), seed=seed)


def mentor():
    """Nested, so that it travels to the workers by value: they do not know the tests."""

    def make():
        from decant.models import build
        from decant.models.build import LlamaSpec, untrained
        from decant.models.teacher import Teacher

        build.fast_bfloat16 = lambda: False
        made = untrained(LlamaSpec(24, 16, 2, 2, 1, 24, head_dim=8), seed=1)
        return Live(Teacher("toy", made.eval().requires_grad_(False)))

    return make


@pytest.fixture(autouse=True)
def _full_precision(monkeypatch) -> None:
    monkeypatch.setattr("decant.models.build.fast_bfloat16", lambda: False)


def texts() -> list[Text]:
    found = [[(7 * row + 3 * at * at) % VOCAB for at in range(5 + row)] for row in range(7)]
    return [Text.answer(ids, 2, number) for number, ids in enumerate(found)]


@pytest.mark.slow
@pytest.mark.parametrize("top", [None, 5])
def test_a_spread_teacher_says_what_it_would_say_alone(cluster, top):
    spread = SpreadTeacher(mentor(), 2, top=top)
    batch = padded(texts(), 99)
    batch.weights_BT[3] = 0  # a row of which nothing is asked
    at = Positions.of(batch)
    alone = Live(Teacher("toy", network(1).eval())).signal(batch, at)
    q_XV, rows = torch.zeros(len(at), VOCAB).log_softmax(-1), slice(2, len(at))
    said = spread.signal(batch, at).law(rows).beside(q_XV[rows], at.label_N[rows])
    own = alone.law(rows).logp_XV
    if top is None:
        torch.testing.assert_close(said[0], own, atol=1e-5, rtol=0)
        assert spread.gives == {"law", "dense"}
    else:
        torch.testing.assert_close(said[0][:, :top], own.topk(top).values, atol=1e-5, rtol=0)
        assert spread.gives == {"law"}
    spread.crew.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ray.kill", "os.kill"])
def test_a_worker_that_dies_during_a_run_is_replaced(cluster, tmp_path, how):
    def trained(folder, teacher, dies=False):
        student, steps = network(2), []

        class Dying:
            def start(self):
                return None

            def batch(self, state, step, share, speaker=None):
                steps.append(step)
                if dies and step == 2:
                    kill(teacher.crew, 1, how)
                return rows.batch(None, step, share)

            def observe(self, state, step, steps, nats):
                return None

        rows = Dataset(texts(), rows=4)
        made = Composition(Learner(student, [None]), None, Dying(), (Asked(Pointwise(ForwardKL())),), teacher)
        run(made.learner, made, Settings(5, peak=1e-2, warmup=1, quiet=True), folder)
        assert steps == [0, 1, 2, 3, 4]  # nothing came twice
        return torch.cat([weight.detach().flatten() for weight in student.parameters()])

    spread = SpreadTeacher(mentor(), 2)
    killed = trained(tmp_path / "spread", spread, dies=True)
    alone = trained(tmp_path / "alone", mentor()())
    torch.testing.assert_close(killed, alone, atol=1e-4, rtol=0)
    assert not torch.allclose(alone, torch.cat([weight.flatten() for weight in network(2).parameters()]), atol=1e-2)
    spread.crew.close()


def kill(crew: Crew, place: int, how: str) -> None:
    actor = crew.actors[place]
    if how == "ray.kill":
        crew.ray.kill(actor)
        return

    found = crew.ray.get(actor.__ray_call__.remote(lambda self: __import__("os").getpid()))
    os.kill(found, signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_that_dies_in_the_middle_of_its_part(cluster, tmp_path):
    """One that is killed while it works; the part is done again by another."""
    once = str(tmp_path / "died")

    def make():
        def work(part):
            import os
            import signal

            if part == 1 and not os.path.exists(once):
                open(once, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            return part * 10

        return work

    crew = Crew(make, 2)
    began = time.monotonic()
    assert crew.share([(0,), (1,)]) == [0, 10]
    assert time.monotonic() - began < 120
    crew.close()


@pytest.mark.slow
def test_a_part_that_kills_everyone_is_an_error_and_so_is_an_error(cluster):
    def make():
        def work(part):
            import os

            from decant.errors import BadInput

            if part == "kills":
                os._exit(1)
            raise BadInput(f"no such {part}")

        return work

    crew = Crew(make, 1)
    with pytest.raises(BadInput, match="no such text"):
        crew.share([("text",)])
    with pytest.raises(DecantError, match="3 workers died over the same part"):
        crew.share([("kills",)])
    crew.close()


@pytest.mark.slow
def test_a_spread_student_writes_what_it_would_write_alone(cluster):
    def speaking():
        def make():
            import torch

            student = torch.nn.Embedding(24, 24, _weight=torch.zeros(24, 24))

            class Likeliest:
                def write(self, prompts, seeds, limit):
                    answers = []
                    for prompt, seed in zip(prompts, seeds, strict=True):
                        ids, last = [], prompt[-1]
                        for _ in range(limit):
                            last = int((student.weight[last] + seed * torch.arange(24.0)).argmax())
                            ids.append(last)
                        answers.append((ids, [0.5] * limit))
                    return answers

            return student, Likeliest()

        return make

    student, alone = speaking()()
    spread = SpreadSpeaker(student, speaking(), 2)
    prompts, seeds = [[1], [2, 3], [4], [5], [6]], [0, 0, 1, 0, 2]
    for step in range(3):
        with torch.no_grad():
            student.weight.copy_(torch.randn(24, 24, generator=torch.Generator().manual_seed(step)))
        if step == 1:
            kill(spread.crew, 0, "os.kill")
        assert spread.write(prompts, seeds, 4) == alone.write(prompts, seeds, 4)
        assert spread.write(prompts[:1], seeds[:1], 2) == alone.write(prompts[:1], seeds[:1], 2)
        assert spread.sendings == step + 1  # once a step
    spread.crew.close()


def test_without_ray_the_command_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"Ray is not installed: pip install 'decant\[ray\]'"):
        SpreadTeacher(mentor(), 2)
    with pytest.raises(BadInput, match="workers must be at least 1, got 0"):
        Crew(lambda: None, 0)


def test_parts_are_as_equal_as_can_be():
    assert [len(range(9)[cut]) for cut in spreading._cuts(9, 4)] == [3, 2, 2, 2]
    assert [len(range(2)[cut]) for cut in spreading._cuts(2, 4)] == [1, 1]


@pytest.mark.slow
def test_a_cluster_that_dies_is_an_error_and_no_waiting():
    """In a process of its own: the cluster's node manager is the parent of its workers."""
    script = """
import os, signal
from decant.distill import spreading
spreading.LOOK = 2.0

def work(part):
    import os, signal, time
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)

try:
    spreading.Crew(lambda: work, 1).share([(0,)])
except spreading.DecantError as error:
    print(error, flush=True)
os._exit(0)  # nothing is left to shut down
"""
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    place = os.environ | {"PYTHONPATH": str(Path(spreading.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], env=place, capture_output=True, text=True, timeout=300)
    assert "every node of the Ray cluster has died" in done.stdout, done.stderr[-2000:]

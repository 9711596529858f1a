"""What a server counts, as Prometheus reads it.

Source: https://prometheus.io/docs/practices/naming.
"""

from typing import Final, final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from decant.apps.server.sample import Tally

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
TOKEN_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LENGTHS: Final = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0)


@final
class Metrics:
    """In a registry of its own, so that two servers of one process stay apart."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        on = {"namespace": "decant", "registry": self.registry}
        self.requests = Counter("requests", "HTTP requests, by path and status.", ("path", "code"), **on)
        self.running = Gauge("running", "Texts that run.", **on)
        self.waiting = Gauge("waiting", "Texts in line.", **on)
        self.cache_bytes = Gauge("cache_bytes", "Keys and values that those that run need, at most.", **on)
        self.prompt_tokens = Counter("prompt_tokens", "Tokens of prompts.", **on)
        self.tokens = Counter(
            "generated_tokens", "Tokens of texts, of those that nobody waited for any longer too.", **on
        )
        self.calls = Counter("target_calls", "Target calls of texts that ended, each text's own.", **on)
        self.drafted = Counter("drafted_tokens", "Tokens that were guessed.", **on)
        self.accepted = Counter("accepted_tokens", "Guesses that were kept.", **on)
        self.length = Histogram("acceptance_length", "Tokens a target call, by text.", buckets=LENGTHS, **on)
        self.ttft = Histogram("time_to_first_token_seconds", "From the call, by text.", buckets=SECONDS, **on)
        self.tpot = Histogram(
            "time_per_output_token_seconds", "Behind the first, by text.", buckets=TOKEN_SECONDS, **on
        )
        self.seconds = Histogram("text_seconds", "From the call to the end, by text.", buckets=SECONDS, **on)

    def ended(self, tally: Tally) -> None:
        """A text has."""
        self.calls.inc(tally.steps)
        self.drafted.inc(tally.proposed)
        self.accepted.inc(tally.drafted)
        self.seconds.observe(tally.last)
        if tally.steps:
            self.length.observe(tally.tokens / tally.steps)
        if tally.first is not None:
            self.ttft.observe(tally.first)
            if tally.tokens > 1:
                self.tpot.observe((tally.last - tally.first) / (tally.tokens - 1))

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)

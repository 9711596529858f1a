"""What several servers count, as one page for Prometheus: every sample says whose it is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

REQUESTS: Final = "decant_requests"  # counted in front, by path and status


@final
@dataclass(frozen=True, slots=True)
class Count:
    """text: of replica `name`, as Prometheus reads it. where: its node and process."""

    name: str
    where: Mapping[str, str]
    text: bytes


def page(front: bytes, counts: Sequence[Count]) -> bytes:
    """Of the front its requests, of the replicas all else, and of each a line that says where it is."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Given([*_requests(front), _places(counts), *_labelled(counts)]))
    return generate_latest(registry)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Given(Collector):
    metrics: Sequence[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.metrics


def _requests(front: bytes) -> Iterator[Metric]:
    return (one for one in _families(front) if one.name.startswith(REQUESTS))


def _places(counts: Sequence[Count]) -> Metric:
    names = ("replica", "node", "pid")
    found = GaugeMetricFamily("decant_replica_info", "1 for each replica that answered.", labels=names)
    for one in counts:
        found.add_metric([one.name, one.where["node"], one.where["pid"]], 1)
    return found


def _labelled(counts: Sequence[Count]) -> list[Metric]:
    """One family of each name, with the samples of all."""
    found: dict[str, Metric] = {}
    for count in counts:
        for family in _families(count.text):
            if family.name.startswith(REQUESTS):
                continue
            into = found.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                into.samples.append(sample._replace(labels={"replica": count.name, **sample.labels}))
    return list(found.values())


def _families(text: bytes) -> Iterable[Any]:
    return text_string_to_metric_families(text.decode())

"""What was measured and what was proved as pages: JSON in, one HTML file out that needs nothing else."""

from decant.pages.certificate import certificate
from decant.pages.ranking import fastest
from decant.pages.report import report

__all__ = ["certificate", "fastest", "report"]

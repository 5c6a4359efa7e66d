"""Stored rows to Plotly figures. Pure functions; every chart of the product is one of them."""

from app.analysis.colors import Theme
from app.analysis.figures.confusion import SHOWN, Epoch, class_differences, class_names, confusion
from app.analysis.figures.curves import curves
from app.analysis.figures.heat import heat
from app.analysis.figures.interaction import interaction
from app.analysis.figures.lines import Axis, Band
from app.analysis.figures.metrics import METRICS, Metric
from app.analysis.figures.parallel import over_factors
from app.analysis.figures.plan import course
from app.analysis.figures.reliability import Sureness, reliability
from app.analysis.figures.results import Cost, cost, differences, final_results
from app.analysis.figures.system import system
from app.analysis.figures.tuning import parallel, trials

__all__ = [
    "METRICS",
    "SHOWN",
    "Axis",
    "Band",
    "Cost",
    "Epoch",
    "Metric",
    "Sureness",
    "Theme",
    "class_differences",
    "class_names",
    "confusion",
    "cost",
    "course",
    "curves",
    "differences",
    "final_results",
    "heat",
    "interaction",
    "over_factors",
    "parallel",
    "reliability",
    "system",
    "trials",
]

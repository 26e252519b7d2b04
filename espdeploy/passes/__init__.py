"""Graph passes: one per file, each with what it requires and what holds after it."""

from espdeploy.passes.registry import PASSES, pipeline_for, pipeline_for_runtime
from espdeploy.passes.runner import Applied, Step, apply

__all__ = ["PASSES", "Applied", "Step", "apply", "pipeline_for", "pipeline_for_runtime"]

"""What has to change on a host so that it runs a release. Pure: values in, a value out."""

from provision.plan.difference import SNAPSHOT, Content, Moves, Once, Plan, Refusal
from provision.plan.planning import plan, plan_on_purpose

__all__ = ["SNAPSHOT", "Content", "Moves", "Once", "Plan", "Refusal", "plan", "plan_on_purpose"]

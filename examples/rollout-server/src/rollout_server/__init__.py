"""A rollout server: a trainer asks for a rollout, which talks to the trainer's model until it is done."""

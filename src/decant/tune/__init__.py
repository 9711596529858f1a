"""The fastest way to decode for a model, prompts and a machine: what it costs, what it keeps, a race, a plan."""

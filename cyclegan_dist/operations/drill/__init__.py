"""Fault drills: the plan, its injection into a training, and what each fault cost."""

"""Joins the stages: the analysis, the run folder, provenance, tiles."""

"""Observers: timing summary, progress, trace, memory and the job report."""

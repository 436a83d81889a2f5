"""Figures of a study, one module each: functions from tables to a figure, and how all of them look and are saved."""

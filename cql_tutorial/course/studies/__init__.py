"""Experiments of the chapters that are too long for a notebook's cell."""

"""Experiments of chapters that would fill a notebook's cell."""

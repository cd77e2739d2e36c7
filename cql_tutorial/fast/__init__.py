"""The update of SAC and CQL in faster forms, each tested equal to the readable one; a reader may skip this folder."""

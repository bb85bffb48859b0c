"""Synthetic dancer: choreography, kinematics, rendering, and a data set."""

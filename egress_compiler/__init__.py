"""Compiles egress policies and a picture of the cluster into configuration for every node."""

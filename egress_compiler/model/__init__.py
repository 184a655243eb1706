"""The typed values that the user's documents and the cluster's objects become."""

"""A sweep as a job of a Ray cluster: what is sent there, and what can be asked of it from afar."""

"""The service host behind ``evtfw serve``: any backend offered to others, with queue, batches, limits, statistics."""

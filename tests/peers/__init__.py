"""Programs that others wrote, for tests and benchmarks: a real tritonserver, perf_analyzer and mlserver, from wheels.

They are installed once into a cache folder (the environment variable ``EVTFW_PEERS``, or ``~/.cache/evtfw-peers``) and
never into the environment of the tests. Where that is not possible, a test that needs them is skipped with the reason.
"""

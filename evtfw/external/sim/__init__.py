"""``sim:NAME?latency_ms=…``: a service that does not exist, with its latencies, its queue and its failures.

=============  ==================================================================================================
`latency`      how long a request takes: distributions and the cost of a row
`faults`       what goes wrong: rates of failures, and times when the service is down
`server`       servers in parallel and the queue before them, on the job's clock
`request`      a request on its way, and what it is answered
`backend`      the backend
`url`          its URL, read
=============  ==================================================================================================
"""

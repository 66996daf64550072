"""Backends: things that turn named input arrays into named output arrays, asynchronously.

=============  ==================================================================================================
`contract`     what a backend is, and the values it exchanges with modules
`urls`         how a configuration names a backend, and how third parties add one
`validate`     whether requests and replies fit the model
`cpu`          ``cpu:MODEL`` on this machine's processors with onnxruntime
`mock`         ``mock:NAME`` in memory, for tests
`pool`         any local function as a backend, in threads of its own
`batcher`      gathers the requests of several events and modules
`fallback`     ``fallback(FIRST, SECOND, …)``: whoever serves
`grpc`         the bridge to gRPC, and the base of clients
`triton`       ``triton+grpc://``: Triton and whatever speaks its protocol
`tfserving`    ``tfserving+grpc://``: TensorFlow Serving's Predict
`routing`      several servers of a model: choice, limits, breakers, retries, hedging
`sim`          ``sim:``: a service with latencies and failures that is simulated
`traffic`      ``record:``, ``replay:``, ``shadow:``: traffic kept, repeated, compared
`service`      what ``evtfw serve`` hosts
=============  ==================================================================================================
"""

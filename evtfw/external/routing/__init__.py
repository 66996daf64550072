"""Several servers of one model as one backend: who gets a request, how much at once, and what happens if it fails.

============  ====================================================================================================
`router`      `Router`: the servers, the queue in front of them, and the life of each request
`call`        a request in the router, and each time it is sent
`server`      what is known of one server, and its `ServerStatistics`
`latency`     measured times of replies
`limit`       how many requests a server gets at the same time, found by measuring
`breaker`     when a failing server is left alone, and when it is tried again
`budget`      how often requests may be sent again: back-off and retry budget
`opening`     opening servers at the start, and later those that could not be reached
`news`        telling the user in few lines
`remote`      `remote_backend`: from an URL with one or several servers to a backend
`route`       ``route(URL, URL, …)`` for configurations
============  ====================================================================================================
"""

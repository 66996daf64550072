"""Clients of Triton, and of all other servers that speak its protocol (KServe v2 over gRPC).

::

    backend       ``triton+grpc://`` URLs, and the client of one server
    start         what is asked of a server before the first event
    description   its answers as a `ModelDescription`
    encoding      requests as bytes
    decoding      bytes as replies: views into the message
    datatypes     Triton's names of element types
    options       what stands behind the question mark of an URL
    regions       shared memory for a server on this machine
"""

"""The traffic between a job and its backends: kept in a file, replayed from it, compared with another backend's.

=============  ==================================================================================================
`format`       the file: records with checksums
`tensors`      arrays as bytes, and the key of a request
`messages`     replies, errors and descriptions as records
`writer`       writes records in a thread of its own
`record`       ``record("FILE", backend)``
`reader`       the index of a file
`replay`       ``replay("FILE")``
`compare`      how two replies differ
`shadow`       ``shadow(main, second)``
=============  ==================================================================================================
"""

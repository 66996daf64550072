"""A client of TensorFlow Serving's ``PredictionService``, the service of the SONIC papers; it needs no tensorflow."""

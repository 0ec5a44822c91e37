"""The HTTP server of registered taggers: batches across requests, on LitServe.

    app.py        the server as a whole: its processes, how it starts and how it ends
    guard.py      what every request passes first: token, place in work, limits of the body; and the metrics of all
    routes.py     POST /tag, GET /models, health
    protocols.py  the Open Inference Protocol v2, and MLflow's POST /invocations
    inputs.py     recordings of a request, in the forms in which clients send them
    work.py       the way of one recording: decoded in a process, scored in a batch
    model.py      the process that holds the models
    lineup.py     which versions are served, and a moved alias
    metrics.py    what Prometheus reads

The process of `tagscale serve` starts two others and waits: one that speaks HTTP, and one that holds the models. The
first decodes in processes of its own. Recordings go between them as files, so no pipe carries samples.
"""
